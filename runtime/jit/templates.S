/* Every file below templates/, and the table of them that template.c reads: name, text, both 0-terminated. The list is written by the
 * Makefile, one `template "name"` a line. */
    .macro template name
    .pushsection .rodata.str, "a"
100:
    .asciz "\name"
101:
    .incbin "templates/\name"
    .byte 0
    .popsection
    .quad 100b, 101b
    .endm

    .section .data.rel.ro, "aw"
    .balign 8
    .globl embedded_templates
    .hidden embedded_templates
embedded_templates:
#include "templates.list"
    .quad 0, 0
    .section .note.GNU-stack, "", %progbits
