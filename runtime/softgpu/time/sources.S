/* The sources that decide a modelled time, for hash.c. The list is written by the Makefile, one `source "path"` a line. */
    .macro source path
    .asciz "\path"
    .incbin "\path"
    .endm

    .section .rodata
    .globl model_sources
    .hidden model_sources
model_sources:
#include "model.list"
    .globl model_sources_end
    .hidden model_sources_end
model_sources_end:
    .byte 0
    .section .note.GNU-stack, "", %progbits
