# mixtune. Knobs first; then run, test, lint, accuracy, bench, fuzz, gpu-check, install, dist, clean.
PREFIX    ?= /usr/local
DESTDIR   ?=
CUDA_HOME ?= $(firstword $(wildcard /usr/local/cuda $(lastword $(wildcard /usr/local/cuda-1[2-9]*))) /usr/local/cuda)
BUILD     ?= build
OPT       ?= -O2 -g
SANITIZE  ?=
STATIC    ?= 0#     1: link the third-party libraries in (make dist)
T         ?=#       make test T=quant: only tests whose path holds this word
M         ?= 1:1024:x2#  make run: the batch sizes
JOBS      ?= $(shell nproc)#  how many commands run at a time
V         ?= 0#     1: show every command
ifeq ($(origin CC),default)
CC := gcc
endif

VERSION := $(shell sed -n 's/^#define MIXTUNE_VERSION "mixtune \(.*\)"/\1/p' tuner/options.h)
ABI     := 2

Q := $(if $(filter 1,$(V)),,@)
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(JOBS) --no-builtin-rules --no-print-directory
endif
export CUDA_HOME

WARN   := -Wall -Wextra -Wshadow -Wmissing-prototypes -Werror
# What every compiler and checker is told; the code generation flags come on top.
CHECKED := -std=c11 -D_GNU_SOURCE $(WARN) -isystem $(CUDA_HOME)/include -I. \
           -DMT_SOURCE_DIR='"$(if $(filter 1,$(STATIC)),,$(CURDIR))"'
# What makes a fault of memory end the process and not more. The sanitizers see more than _FORTIFY_SOURCE, and do not go with it; it
# needs optimisation; some compilers set one of their own.
HARDEN := -fstack-protector-strong $(if $(SANITIZE),,$(if $(filter -O1 -O2 -O3 -Os,$(OPT)),-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2))
CFLAGS := $(CHECKED) -fPIC -fvisibility=hidden -pthread $(OPT) $(HARDEN) $(SANITIZE) -MMD -MP
# gcc links the sanitizers' library into a shared object by itself, clang into programs alone.
LINK   := $(CC) $(SANITIZE) -Wl,-z,relro,-z,now,-z,noexecstack
# The interpreter's lane loops are written to be vectorised.
SIMD := $(if $(filter x86_64,$(shell uname -m)),-march=x86-64-v3,)

comma := ,
lib  = $(if $(filter 1,$(STATIC)),$(patsubst %,-l:lib%.a,$(1)),$(patsubst %,-l%,$(1)))
LDLIBS_RT    := $(call lib,sqlite3 jansson xxhash zstd md) -ldl -lm -pthread
LDLIBS_TUNER := $(call lib,cyaml yaml)
# Debian's libcyaml.a cannot go into a shared object: the archive carries the shared one beside ours.
BESIDE       := $(if $(filter 1,$(STATIC)),-Wl$(comma)--disable-new-dtags$(comma)-rpath$(comma)'$$ORIGIN')
LDLIBS_LIB   := $(call lib,sqlite3 xxhash zstd md) -ldl -lm -pthread
LDLIBS_SOFT  := -lcyaml -lyaml $(BESIDE) $(call lib,xxhash zstd) -ldl -lm -pthread

BASE  := $(wildcard runtime/base/*.c)
LIB   := $(filter-out runtime/example/% runtime/softgpu/% runtime/yaml/%,$(wildcard runtime/*/*.c)) $(wildcard db/*.c db/*/*.c)
# Below the tuner and the software device, which both read YAML; libmixtune does not.
YAML  := $(wildcard runtime/yaml/*.c)
SOFT  := $(BASE) $(YAML) $(wildcard runtime/softgpu/*/*.c)
TUNE  := $(YAML) $(wildcard tuner/*.c tuner/*/*.c)
UNIT  := $(wildcard tests/unit/test_*.c tests/unit/*/test_*.c)
DEVT  := $(wildcard tests/device/test_*.c)
COMPARE := $(wildcard tests/gpu/compare*.c)
CLIT  := $(wildcard tests/cli/test_*.sh)
BENCH := $(wildcard tests/bench/bench_*.c)
# What `make test` runs once more under AddressSanitizer and UBSan: what takes seconds there, and not minutes. test_proofs walks
# through millions of configurations, which are all alike to a sanitizer.
SANITIZED := $(filter-out tests/unit/plan/test_proofs.c,$(UNIT)) $(filter-out $(patsubst %,tests/device/test_%.c,families faults_shared faults_sm90 splits),$(DEVT))
SANITIZED_CLI := $(patsubst %,tests/cli/test_%.sh,real sweep convert correlate errors finals merge replay report)
# What the sources take in as text (runtime/base/embed.h): the compiler does not list these as dependencies.
EMBEDDED  := $(filter-out %.md db/current.sql,$(wildcard db/*.sql reports/*.* templates/*.* templates/*/*.*))
EMBEDDERS := $(shell grep -l EMBED_FILE $(LIB) $(TUNE) 2>/dev/null)
obj = $(patsubst %.c,$(BUILD)/%.o,$(1))
exe = $(patsubst %.c,$(BUILD)/%,$(1))
LIB_OBJ := $(call obj,$(LIB)) $(patsubst %.S,$(BUILD)/%.o,$(wildcard runtime/*/*.S))
SOFT_OBJ := $(call obj,$(SOFT)) $(patsubst %.S,$(BUILD)/%.o,$(wildcard runtime/softgpu/*/*.S))

all: $(BUILD)/libmixtune.a $(BUILD)/libmixtune.so $(BUILD)/libsoftgpu.so $(BUILD)/mixtune

# Another compiler or other flags: everything is made again.
FLAGS := $(LINK) $(CFLAGS) $(SIMD)
$(shell mkdir -p $(BUILD); printf '%s' '$(subst ','\'',$(FLAGS))' | cmp -s - $(BUILD)/flags || printf '%s' '$(subst ','\'',$(FLAGS))' >$(BUILD)/flags)

$(BUILD)/runtime/softgpu/%.o: runtime/softgpu/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -O3 $(SIMD) -fno-math-errno -ffp-contract=off -c $< -o $@
$(BUILD)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -c $< -o $@
# What is called before cuInit has looked at the processor, or after it has refused it.
$(BUILD)/runtime/softgpu/api/%.o: SIMD :=
# So are the loops over weights; their divisions are IEEE's all the same.
$(patsubst %,$(BUILD)/runtime/layer/%.o,half pack round) $(BUILD)/tuner/quantize/gptq.o: CFLAGS += -O3 -fno-trapping-math
$(BUILD)/runtime/%.o: runtime/%.S
	@mkdir -p $(@D)
	$(Q)$(CC) -c -I. -I$(BUILD)/runtime $< -o $@
# What runtime/jit/templates.S carries: every file of templates/. Rewritten only when a file came or went.
TEMPLATES := $(patsubst templates/%,%,$(sort $(filter templates/%,$(EMBEDDED))))
$(shell mkdir -p $(BUILD)/runtime; printf 'template "%s"\n' $(TEMPLATES) >$(BUILD)/runtime/templates.new; \
    cmp -s $(BUILD)/runtime/templates.new $(BUILD)/runtime/templates.list || cp $(BUILD)/runtime/templates.new $(BUILD)/runtime/templates.list)
$(BUILD)/runtime/jit/templates.o: $(EMBEDDED) $(BUILD)/runtime/templates.list
# What decides a modelled time beside the device's file: the formula, its counters, the machine code and how PTX is found in it, how a
# launch is sampled, the pipes of instructions. Its hash stands beside every modelled time (runtime/softgpu/time/hash.h).
MODEL_SOURCES := $(sort $(wildcard $(patsubst %,runtime/softgpu/%/*.[ch],time profile)) \
                 $(patsubst %,runtime/softgpu/%,api/estimate.c machine/count.c op/table.c ptx/lists.h))
$(shell printf 'source "%s"\n' $(MODEL_SOURCES) >$(BUILD)/runtime/model.new; \
    cmp -s $(BUILD)/runtime/model.new $(BUILD)/runtime/model.list || cp $(BUILD)/runtime/model.new $(BUILD)/runtime/model.list)
$(BUILD)/runtime/softgpu/time/sources.o: $(MODEL_SOURCES) $(BUILD)/runtime/model.list
$(call obj,$(EMBEDDERS)): $(EMBEDDED)
$(BUILD)/libmixtune.a: $(LIB_OBJ)
	$(Q)rm -f $@; ar qcs $@ $^
$(BUILD)/libmixtune.so: $(LIB_OBJ)
	$(Q)$(LINK) -shared -Wl,-soname,libmixtune.so.$(ABI) -Wl,--exclude-libs,ALL -o $@ $^ $(LDLIBS_LIB)
	$(Q)ln -sf libmixtune.so $@.$(ABI)
$(BUILD)/libsoftgpu.so: $(SOFT_OBJ)
	$(Q)$(LINK) -shared -Wl,-Bsymbolic -Wl,--exclude-libs,ALL -o $@ $^ $(LDLIBS_SOFT)
$(BUILD)/mixtune: $(call obj,$(TUNE)) $(BUILD)/libmixtune.a
	$(Q)$(LINK) -pie -rdynamic -o $@ $^ $(LDLIBS_TUNER) $(LDLIBS_RT)
# The command's parts, for tests.
$(BUILD)/tuner.a: $(filter-out %/cmd/main.o,$(call obj,$(TUNE)))
	$(Q)rm -f $@; ar qcs $@ $^
# Tests see internals: they link the archives and, for those of the software device, the objects of the software device before them.
$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/tuner.a $(BUILD)/libmixtune.a $(BUILD)/libsoftgpu.so
	$(Q)$(LINK) -o $@ $< $(if $(findstring soft_,$(subst softgpu/,soft_,$*)),$(filter-out $(call obj,$(BASE)),$(SOFT_OBJ))) \
	    $(filter %.a,$^) -lcmocka $(LDLIBS_TUNER) $(LDLIBS_RT)
# A driver that fails, opened by a test under the name of the real one.
$(BUILD)/tests/unit/gpu/failing_cuda.so: tests/unit/gpu/failing_cuda.c tests/unit/gpu/failing_cuda.h $(BUILD)/libsoftgpu.so $(BUILD)/flags
	@mkdir -p $(@D)
	$(Q)$(CC) -std=c11 -D_GNU_SOURCE $(WARN) -isystem $(CUDA_HOME)/include -shared -fPIC -Wl,-soname,libcuda.so.1 -o $@ $<
$(BUILD)/tests/unit/gpu/test_failing_driver $(BUILD)/tests/unit/serve/test_short_memory: $(BUILD)/tests/unit/gpu/failing_cuda.so
# Two devices beside each other (make gpu-check).
$(BUILD)/tests/gpu/compare: $(call obj,$(COMPARE)) $(BUILD)/tuner.a $(BUILD)/libmixtune.a
	$(Q)$(LINK) -o $@ $^ $(LDLIBS_TUNER) $(LDLIBS_RT)
# The examples are built as a user of the installed library would: the public header, the shared object.
EXAMPLES := $(patsubst %,$(BUILD)/example/%,dispatch serve)
$(BUILD)/example/dispatch: runtime/example/fp16_gemm.c runtime/example/fp16_gemm.h
$(EXAMPLES): $(BUILD)/example/%: runtime/example/%.c runtime/example/driver.c runtime/example/driver.h runtime/mixtune.h $(BUILD)/libmixtune.so
	@mkdir -p $(@D)
	$(Q)$(LINK) -pie -std=c11 $(WARN) $(OPT) -fPIE $(HARDEN) -isystem $(CUDA_HOME)/include -Iruntime $(filter %.c,$^) -o $@ \
	    -L$(BUILD) -lmixtune -lm -Wl,-rpath,'$$ORIGIN/..:$$ORIGIN/../lib'

# ---- tests/fuzz: what is fuzzed has the sanitizers of clang, all else is as it is. A kind is tests/fuzz/fuzz_KIND.c and its sources here ----
FUZZED_BASE    := $(patsubst %,runtime/base/%.c,str array memory file number status)
FUZZED_ptx     := $(wildcard runtime/softgpu/ptx/*.c) $(patsubst %,runtime/softgpu/%.c,machine/bind op/table $(patsubst %,profile/%,cubin flow image regions sass unpack)) \
                  $(patsubst %,runtime/base/%.c,str array memory number)
FUZZED_image   := $(FUZZED_ptx)
FUZZED_tensors := $(wildcard runtime/checkpoint/*.c) $(patsubst %,runtime/layer/%.c,half problem) $(FUZZED_BASE)
FUZZED_model   := tuner/plan/model.c tuner/json_file.c $(FUZZED_BASE)
FUZZED_space   := $(patsubst %,tuner/%.c,plan/space splits) runtime/family/family.c $(YAML) $(FUZZED_BASE)
FUZZED_device  := runtime/softgpu/profile/profile.c $(YAML) $(FUZZED_BASE)
FUZZED_t4      := tuner/report/t4_read.c tuner/json_file.c $(patsubst %,db/%.c,columns record sql merge) $(FUZZED_BASE)
FUZZED_bundle  := $(wildcard db/bundle/*.c runtime/serve/*.c runtime/family/*.c) \
                  $(patsubst %,runtime/%.c,jit/fatbin jit/cubin layer/problem layer/split gpu/launch) $(FUZZED_BASE)
FUZZ_KINDS := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZERS    := $(FUZZ_KINDS:%=$(BUILD)/fuzz/fuzz_%)
FUZZ       := clang -fsanitize=address,undefined -fno-sanitize-recover=undefined
$(BUILD)/fuzz/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(Q)$(FUZZ) -fsanitize=fuzzer-no-link $(CHECKED) -O1 -g -pthread -MMD -MP -c $< -o $@
$(BUILD)/fuzz/softgpu.a: $(SOFT_OBJ)
	$(Q)rm -f $@; ar qcs $@ $^
# The archives give what is not among the sources.
.SECONDEXPANSION:
$(FUZZERS): $(BUILD)/fuzz/fuzz_%: $(BUILD)/fuzz/tests/fuzz/fuzz_%.o $$(addprefix $(BUILD)/fuzz/,$$(FUZZED_$$*:.c=.o)) \
            $(BUILD)/tuner.a $(BUILD)/libmixtune.a $(BUILD)/fuzz/softgpu.a
	$(Q)$(FUZZ) -fsanitize=fuzzer -o $@ $^ $(LDLIBS_TUNER) $(LDLIBS_RT)
# It opens the software device (tests/fuzz/fuzz_bundle.c).
$(BUILD)/fuzz/fuzz_bundle: | $(BUILD)/libsoftgpu.so
$(BUILD)/fuzz/seeds/ptx.dict: $(BUILD)/tests/fuzz/soft_seeds $(BUILD)/tests/fuzz/bundle_seeds $(wildcard tests/fuzz/seed* tests/device/*.cu tests/gpu/*.cu configs/*/*.*) $(EMBEDDED)
	$(Q)BUILD=$(BUILD) tests/fuzz/seeds.sh $< $(BUILD)/tests/fuzz/bundle_seeds $(@D)
# Nothing where there is no clang with libFuzzer.
fuzzers:
	$(Q)! tests/fuzz/test_fuzz.sh --can || $(MAKE) $(FUZZERS) $(BUILD)/fuzz/seeds/ptx.dict
# make fuzz T=ptx SECONDS=600: one kind, or a share of the time for each; what is found stays in $(BUILD)/fuzz.
SECONDS ?= 600
fuzz:
	$(Q)tests/setup.sh build test fuzz
	$(Q)$(MAKE) fuzzers
	$(Q)FUZZ_SECONDS=$(SECONDS) FUZZ_KINDS="$(T)" FUZZ_CORPUS=$(abspath $(BUILD))/fuzz/corpus \
	    BUILD=$(BUILD) TEST_TIMEOUT=$$((2 * $(SECONDS) + 900)) tests/run.sh "" tests/fuzz/test_fuzz.sh

# The database after all its steps, for people; tests/unit/db/test_schema.c compares it.
db/current.sql: $(BUILD)/tests/unit/db/test_schema
	$(Q)$< --print >$@.new && mv $@.new $@

# The proof spaces, which the same program checks; that of clusters is written by hand.
PROOF_SPACES := $(filter-out %-clusters.yaml,$(wildcard configs/spaces/proof-*.yaml))
proof-spaces: $(BUILD)/tests/unit/plan/test_proofs
	$(Q)for f in $(PROOF_SPACES); do $< --print $$(basename $$f .yaml) >$(BUILD)/proof.new && mv $(BUILD)/proof.new $$f || exit 1; done

# What the software device has, for people; tests/unit/softgpu/test_docs.c compares it.
docs/softgpu.md: $(BUILD)/tests/unit/softgpu/test_docs
	$(Q)$< --print >$@.new && mv $@.new $@

example: $(EXAMPLES)
unit-tests: $(call exe,$(UNIT))
sanitized-tests: all example $(call exe,$(SANITIZED))
tests: all unit-tests example $(call exe,$(DEVT)) $(BUILD)/tests/gpu/compare $(BUILD)/tests/gpu/soft_calibrate $(BUILD)/tests/cli/pack_model $(BUILD)/tests/bench/bench_launch $(BUILD)/tests/bench/bench_open

# ---- what people call ----
# Set-up comes before everything that is compiled, so these build by calling make again.
ASAN := BUILD=$(BUILD)/asan OPT="-O1 -g" SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=undefined"

run:
	$(Q)tests/setup.sh build
	$(Q)$(MAKE) all example
	$(Q)BUILD=$(BUILD) M=$(M) tests/tour.sh

test:
	$(Q)tests/setup.sh build test
	$(Q)tests/setup.sh fuzz || echo "test: nothing is fuzzed"
	$(Q)$(MAKE) tests
	$(Q)$(MAKE) $(ASAN) sanitized-tests
	$(Q)$(MAKE) fuzzers
	$(Q)BUILD=$(BUILD) tests/run.sh "$(T)" $(call exe,$(UNIT) $(DEVT)) $(CLIT) tests/fuzz/test_fuzz.sh $(addprefix $(BUILD)/asan/,$(SANITIZED_CLI)) \
	    $(patsubst %.c,$(BUILD)/asan/%,$(SANITIZED))

lint:
	$(Q)tests/setup.sh build test lint
	$(Q)$(MAKE) --keep-going lint-checks && echo "lint: clean"
include tests/lint/lint.mk

# How well quantised models predict (docs/accuracy.md). MODEL, CALIBRATE, MIX, TEST, OPTIONS: another model and other texts.
accuracy:
	$(Q)tests/setup.sh build test
	$(Q)$(MAKE) all
	$(Q)BUILD=$(BUILD) MODEL="$(MODEL)" CALIBRATE="$(CALIBRATE)" MIX="$(MIX)" TEST="$(TEST)" OPTIONS="$(OPTIONS)" tests/accuracy/accuracy.sh

bench:
	$(Q)tests/setup.sh build test
	$(Q)$(MAKE) all bench-programs
	$(Q)for b in $(call exe,$(BENCH)); do MIXTUNE_CACHE_DIR=$(BUILD)/cache $$b || exit 1; done
bench-programs: $(call exe,$(BENCH))

# For a GPU that can be had for minutes: the archive with compiled kernels and modelled times inside (tests/gpu/README.md).
# FOR=soft:NAME names the software device that stands for it, if it is not in this machine.
DIST = $(BUILD)/dist/$(ARCHIVE)
FILLED = $(BUILD)/gpu$(if $(filter 1,$(REHEARSE)),-rehearsal)
gpu-archive: dist
	$(Q)$(MAKE) all $(BUILD)/tests/gpu/compare
	$(Q)BUILD=$(BUILD) REHEARSE=$(REHEARSE) tests/gpu/fill.sh $(FILLED) $(FOR)
	$(Q)mkdir -p $(DIST)/modelled && cp -R $(FILLED)/images $(DIST)
	$(Q)find $(FILLED)/modelled -name "*.db" -exec cp {} $(DIST)/modelled \;
	$(Q)tar -C $(BUILD)/dist -czf $(FILLED)/$(ARCHIVE)-gpu.tar.gz $(ARCHIVE)
	$(Q)echo "gpu-archive: $(FILLED)/$(ARCHIVE)-gpu.tar.gz ($$(du -h $(FILLED)/$(ARCHIVE)-gpu.tar.gz | cut -f1))"
# Runs from that archive, as on a machine that has nothing else; PART=triage or rest: one part. Without a GPU it is a rehearsal with few and small shapes.
OUT ?= $(BUILD)/gpu-check
GPU := $(or $(MIXTUNE_DEVICE),$(if $(wildcard /dev/nvidiactl),cuda:0,soft:h100-sxm))
REHEARSE ?= $(if $(filter gpu-check,$(MAKECMDGOALS)),$(if $(filter soft:%,$(GPU)),1))
FOR ?= $(GPU)
gpu-check: gpu-archive
	$(Q)$(if $(filter 1,$(REHEARSE)),echo "gpu-check: a rehearsal on $(GPU)$(if $(MIXTUNE_DEVICE),,$(comma) for there is no GPU here)")
	$(Q)MIXTUNE_DEVICE=$(GPU) REHEARSE=$(REHEARSE) STATE=$(abspath $(FILLED))/state $(DIST)/libexec/check.sh $(PART) "$(OUT)"

install: all
	$(Q)install -d $(addprefix "$(ROOT)"/,bin lib/pkgconfig include/mixtune/base share/mixtune/python share/man/man1)
	$(Q)install $(BUILD)/mixtune "$(ROOT)"/bin
	$(Q)install -m 644 $(BUILD)/libmixtune.so "$(ROOT)"/lib/libmixtune.so.$(VERSION)
	$(Q)ln -sf libmixtune.so.$(VERSION) "$(ROOT)"/lib/libmixtune.so.$(ABI)
	$(Q)ln -sf libmixtune.so.$(ABI) "$(ROOT)"/lib/libmixtune.so
	$(Q)install -m 644 $(BUILD)/libsoftgpu.so "$(ROOT)"/lib
	$(Q)install -m 644 runtime/mixtune.h "$(ROOT)"/include/mixtune
	$(Q)install -m 644 runtime/base/status.h "$(ROOT)"/include/mixtune/base
	$(Q)cp -R configs reports "$(ROOT)"/share/mixtune
	$(Q)install -m 644 tuner/quantize/*.py "$(ROOT)"/share/mixtune/python
	$(Q)install -m 644 docs/mixtune.1 "$(ROOT)"/share/man/man1
	$(Q)sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' runtime/mixtune.pc.in >"$(ROOT)"/lib/pkgconfig/mixtune.pc
# What libexec/check.sh needs beside an installation.
install-gpu-check: example $(BUILD)/tests/gpu/compare
	$(Q)install -d "$(ROOT)"/libexec
	$(Q)install $(BUILD)/tests/gpu/compare $(EXAMPLES) tests/gpu/check.sh "$(ROOT)"/libexec
	$(Q)install -m 644 $(wildcard tests/gpu/check_*.sh tests/gpu/compare*.cu tests/gpu/peer*.py) "$(ROOT)"/libexec
ROOT = $(DESTDIR)$(PREFIX)

# An archive that runs where there is only the driver and the CUDA libraries: the other libraries are linked in.
ARCHIVE := mixtune-$(VERSION)-linux-$(shell uname -m)
dist:
	$(Q)tests/setup.sh build
	$(Q)rm -rf $(BUILD)/dist/$(ARCHIVE)
	$(Q)$(MAKE) BUILD=$(BUILD)/dist OPT=-O2 STATIC=1 PREFIX= DESTDIR=$(BUILD)/dist/$(ARCHIVE) install install-gpu-check
	$(Q)BUILD=$(BUILD)/dist tests/dist.sh $(ARCHIVE)

clean:
	$(Q)rm -rf $(BUILD)

.PHONY: all clean accuracy run test tests unit-tests sanitized-tests example db/current.sql proof-spaces docs/softgpu.md lint bench bench-programs fuzz fuzzers gpu-archive gpu-check install install-gpu-check dist
.SECONDARY:
.SUFFIXES:
-include $(shell find $(BUILD) -path $(BUILD)/asan -prune -o -path $(BUILD)/dist -prune -o -name '*.d' -print 2>/dev/null)
