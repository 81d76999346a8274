#include "json_file.h"
#include "runtime/base/file.h"

/* About what jansson takes for an object, a list, and a member of either. */
enum { OBJECT_BYTES = 256, LIST_BYTES = 160, MEMBER_BYTES = 48 };
static const size_t bearable = (size_t)3 << 29;

/* Whether the values of a text take less than 1.5 GiB: one of "[],[],[]," takes fifty times its bytes. */
static bool is_bearable(const char *text, size_t length) {
    size_t bytes = length;
    bool in_text = false;
    for (size_t i = 0; i < length && bytes <= bearable; i++) {
        if (in_text && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            in_text = !in_text;
        else if (!in_text)
            bytes += text[i] == '{'                     ? OBJECT_BYTES
                     : text[i] == '['                   ? LIST_BYTES
                     : text[i] == ',' || text[i] == ':' ? MEMBER_BYTES
                                                        : 0;
    }
    return bytes <= bearable;
}

enum mt_status json_file_read(const char *path, size_t most, enum mt_status bad, json_t **out) {
    struct str text = {0};
    json_error_t error;
    *out = NULL;
    enum mt_status status = file_read_text(path, most, bad, &text);
    if (!status && !is_bearable(str_text(&text), text.length))
        status = fail(bad,
                      "%s has so many values that reading it would take more than %zu MiB; give it in "
                      "parts",
                      path, bearable >> 20);
    if (!status && !(*out = json_loadb(str_text(&text), text.length, JSON_REJECT_DUPLICATES, &error)))
        status = fail(bad, "%s, line %d: this is not JSON: %s", path, error.line > 0 ? error.line : 1, error.text);
    str_release(&text);
    return status;
}
