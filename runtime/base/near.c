#include "near.h"
#include <ctype.h>
#include <stdbool.h>
#include <string.h>

static int least(int a, int b) {
    return a < b ? a : b;
}

static int letter(const char *text, size_t at) {
    return tolower((unsigned char)text[at]);
}

/* How many bytes must be left out, put in, changed, or swapped with the next, whatever their case; both names are shorter
 * than NEAR_NAME. */
static int distance(const char *a, const char *b) {
    int row[3][NEAR_NAME + 1]; /* of the prefixes of b, for that of a which ends two before, one before, here */
    const size_t rows = strlen(a), columns = strlen(b);
    for (size_t j = 0; j <= columns; j++)
        row[0][j] = (int)j;
    for (size_t i = 1; i <= rows; i++) {
        int *here = row[i % 3];
        const int *above = row[(i + 2) % 3], *before = row[(i + 1) % 3];
        here[0] = (int)i;
        for (size_t j = 1; j <= columns; j++) {
            here[j] = least(above[j - 1] + (letter(a, i - 1) != letter(b, j - 1)), 1 + least(above[j], here[j - 1]));
            if (i > 1 && j > 1 && letter(a, i - 1) == letter(b, j - 2) && letter(a, i - 2) == letter(b, j - 1))
                here[j] = least(here[j], before[j - 2] + 1);
        }
    }
    return row[rows % 3][columns];
}

void near_offer(struct near *near, const char *name) {
    const int length = (int)strlen(near->wanted), most = 1 + length / 5;
    if (length >= NEAR_NAME || strlen(name) >= NEAR_NAME)
        return;
    int far = distance(near->wanted, name);
    if (far > most && length > 2 && !strncmp(name, near->wanted, (size_t)length))
        far = most;
    int at = near->count;
    while (at > 0 &&
           (far < near->distance[at - 1] || (far == near->distance[at - 1] && strcmp(name, near->name[at - 1]) < 0)))
        at--;
    const bool known = at > 0 && !strcmp(name, near->name[at - 1]);
    if (far > most || far >= length || known || at == NEAR_MOST)
        return;
    near->count += near->count < NEAR_MOST;
    for (int i = near->count - 1; i > at; i--) {
        near->distance[i] = near->distance[i - 1];
        memcpy(near->name[i], near->name[i - 1], sizeof near->name[i]);
    }
    near->distance[at] = far;
    memcpy(near->name[at], name, strlen(name) + 1);
}

void near_print(const struct near *near, const char *otherwise, struct str *out) {
    if (!near->count) {
        str_append(out, otherwise);
        return;
    }
    int count = 1; /* one that is nearer by far stands alone */
    while (count < near->count && near->distance[count] <= near->distance[0] + 1)
        count++;
    str_append(out, "; did you mean ");
    for (int i = 0; i < count; i++)
        str_printf(out, "%s%s", i == 0 ? "" : i + 1 == count ? " or " : ", ", near->name[i]);
    str_append(out, "?");
}
