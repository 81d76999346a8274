/* A file of the source tree in the read-only data of the binary, as a 0-terminated text. */
#ifndef MT_BASE_EMBED_H
#define MT_BASE_EMBED_H

/* At file scope: defines `const char name[]` with the bytes of `path` (relative to the root of the source tree, where
 * the compiler runs), visible inside the library only. Declare it with `extern const char name[];` where it is read. */
#define EMBED_FILE(name, path)                                                                                         \
    __asm__(".pushsection .rodata\n.global " #name "\n.hidden " #name "\n.type " #name ", @object\n" #name             \
            ":\n.incbin \"" path "\"\n.byte 0\n.size " #name ", . - " #name "\n.popsection\n")

#endif
