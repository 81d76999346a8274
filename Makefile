# mixtune. Knobs first; then run, test, lint, bench, gpu-check, install, dist, clean.
PREFIX    ?= /usr/local
CUDA_HOME ?= /usr/local/cuda
CC        ?= gcc
BUILD     ?= build
OPT       ?= -O2 -g
SANITIZE  ?=
V         ?= 0
Q := $(if $(filter 1,$(V)),,@)

WARN   := -Wall -Wextra -Wshadow -Wmissing-prototypes -Werror
CFLAGS := -std=c11 -D_GNU_SOURCE -fPIC -fvisibility=hidden -pthread $(OPT) $(SANITIZE) $(WARN) -MMD -MP \
          -isystem $(CUDA_HOME)/include -I. -Iruntime -DMT_SOURCE_DIR='"$(CURDIR)"'
LDLIBS_RT := -lsqlite3 -lxxhash -lzstd -ldl -lm -pthread
LDLIBS_TUNER := -ljansson -lcyaml -lyaml
# The interpreter's lane loops are written to be vectorised.
SIMD := $(if $(filter x86_64,$(shell uname -m)),-march=x86-64-v3,)

BASE := $(wildcard runtime/base/*.c)
LIB  := $(BASE) $(wildcard runtime/*.c db/*.c)
SOFT := $(BASE) $(wildcard runtime/softgpu/*.c)
TUNE := $(wildcard tuner/*.c)
UNIT := $(wildcard tests/unit/test_*.c)
DEVT := $(wildcard tests/device/test_*.c)
obj = $(patsubst %.c,$(BUILD)/%.o,$(1))

all: $(BUILD)/libmixtune.a $(BUILD)/libmixtune.so $(BUILD)/libsoftgpu.so $(BUILD)/mixtune

$(BUILD)/runtime/softgpu/%.o: runtime/softgpu/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -O3 $(SIMD) -fno-math-errno -ffp-contract=off -c $< -o $@
$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -c $< -o $@
$(BUILD)/runtime/templates.o: runtime/templates.S $(wildcard templates/*.* templates/*/*.*)
	@mkdir -p $(@D)
	$(Q)$(CC) -c -I. $< -o $@
# Objects that embed files of the tree (EMBED_FILE of runtime/base/embed.h) are built anew when those change.
$(BUILD)/db/schema.o: db/schema.sql
$(BUILD)/tuner/report_files.o: $(wildcard reports/*)
# end of embedded files
$(BUILD)/libmixtune.a: $(call obj,$(LIB)) $(if $(wildcard runtime/templates.S),$(BUILD)/runtime/templates.o)
	$(Q)rm -f $@; ar rcs $@ $^
$(BUILD)/libmixtune.so: $(call obj,$(LIB)) $(if $(wildcard runtime/templates.S),$(BUILD)/runtime/templates.o)
	$(Q)$(CC) -shared $(SANITIZE) -Wl,-soname,libmixtune.so.0 -o $@ $^ $(LDLIBS_RT)
$(BUILD)/libsoftgpu.so: $(call obj,$(SOFT))
	$(Q)$(CC) -shared $(SANITIZE) -Wl,-Bsymbolic -o $@ $^ -lcyaml -lyaml -lxxhash -lzstd -ldl -lm -pthread
$(BUILD)/mixtune: $(call obj,$(TUNE)) $(BUILD)/libmixtune.a
	$(Q)$(CC) $(SANITIZE) -rdynamic -o $@ $^ $(LDLIBS_TUNER) $(LDLIBS_RT)
# Unit tests see internals: they link the archives and, below softgpu, its objects.
$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/libmixtune.a $(BUILD)/libsoftgpu.so
	$(Q)$(CC) $(SANITIZE) -o $@ $(filter %.o %.a,$^) $(filter-out $(call obj,$(BASE)),$(if $(findstring soft_,$*),$(call obj,$(SOFT)))) -lcmocka $(LDLIBS_TUNER) $(LDLIBS_RT)

clean:
	$(Q)rm -rf $(BUILD)
.PHONY: all clean run test lint bench gpu-check install dist
.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
