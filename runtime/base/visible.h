/* Text from elsewhere (names in databases, files and command lines, paths, what a library says) as people may see it. A
 * terminal obeys control characters, and a reader is misled by characters that are not seen or that turn the direction
 * of writing. So each byte of such a character, and each that is no UTF-8, stands as \x and two digits: ESC is \x1b,
 * U+202E is \xe2\x80\xae. All else, a backslash too, stands for itself; what is visible already does not change.
 *
 * Sentences and logs are made visible where they are recorded (status.c, log.c), cells of tables, CSV, JSON, HTML and
 * gnuplot's texts in tuner/report/, arguments of printf() by shown() (tuner/shown.h). */
#ifndef MT_BASE_VISIBLE_H
#define MT_BASE_VISIBLE_H

#include "str.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the UTF-8 character that begins `text`, of which `count` bytes are there; 0 if none does. */
size_t utf8_character(const char *text, size_t count, uint32_t *code);
/* Not a control character (C0, DEL, C1; line ends and tabs are), none that turns the direction of writing, and none
 * that is not seen: zero width, separators of lines and paragraphs, tags, what is no character. */
bool utf8_is_plain(uint32_t code);

bool text_is_visible(const char *text, size_t count); /* all of it is plain characters */
/* Appends `count` bytes of text, made visible; bytes of `keep` ("\n") stay as they are. */
void str_append_visible(struct str *out, const char *text, size_t count, const char *keep);
/* Makes a text visible in its array of `size` bytes. Where that is too small it ends in "...". Allocates nothing. */
void text_visible(char *text, size_t size);

#endif
