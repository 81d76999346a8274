# What `make lint` checks. A file is looked at again when it, or something that it includes, has changed.
LINT   := $(BUILD)/lint
LINT_C := $(wildcard $(foreach d,runtime db tuner,$(d)/*.c $(d)/*/*.c $(d)/*/*/*.c) tests/*/*.c tests/*/*/*.c)
LINT_H := $(wildcard $(foreach d,runtime db tuner,$(d)/*.h $(d)/*/*.h $(d)/*/*/*.h) tests/*/*.h tests/*/*/*.h)
LINT_T := $(wildcard $(foreach d,templates templates/ptx templates/tile,$(d)/*.cu $(d)/*.cuh $(d)/*.h))
LINT_SH := $(wildcard tests/*.sh tests/*/*.sh .ci/run)
LINT_PY := $(wildcard tuner/*/*.py tests/*/*.py)
LINT_FLAGS = $(CHECKED) -fsyntax-only
$(LINT)/runtime/example/%: CHECKED += -Iruntime# as a user of the installed library has it
# Enough for what the analyzer finds within a function or two; the default takes ten times as long.
BUDGET := -Xclang -analyzer-config -Xclang max-nodes=10000
# The analyzer does not know that a cmocka assertion that fails does not return.
TIDY_tests := --checks=-clang-analyzer-*
FORMATTED = clang-format --dry-run --Werror $< 2>/dev/null || { echo "$<: not formatted: clang-format -i $<"; exit 1; }

lint-checks: lint-includes lint-sizes lint-words lint-cppcheck $(LINT_C:%=$(LINT)/%.ok) $(LINT_H:%=$(LINT)/%.ok) \
             $(LINT_SH:%=$(LINT)/%.ok) $(LINT_PY:%=$(LINT)/%.ok)

$(LINT)/%.c.ok: %.c .clang-tidy .clang-format $(BUILD)/flags
	@mkdir -p $(@D)
	$(Q)$(FORMATTED)
	$(Q)$(CC) $(LINT_FLAGS) $<
	$(Q)clang $(LINT_FLAGS) -MD -MP -MF $@.d -MT $@ $<
	$(Q)clang-tidy --quiet $(TIDY_$(firstword $(subst /, ,$<))) $< -- $(CHECKED) $(if $(filter-out runtime/base/status.c,$<),-include tests/lint/analyzer.h) $(BUDGET) 2>$@.log || { cat $@.log; exit 1; }
	@touch $@
# A header must stand on its own.
$(LINT)/%.h.ok: %.h .clang-format $(BUILD)/flags
	@mkdir -p $(@D)
	$(Q)$(FORMATTED)
	$(Q)$(CC) $(LINT_FLAGS) -x c $<
	@touch $@
$(LINT)/%.py.ok: %.py
	@mkdir -p $(@D)
	$(Q)pyflakes3 $<
	@touch $@
$(LINT)/%.ok: %
	@mkdir -p $(@D)
	$(Q)shellcheck -x $<
	@touch $@

lint-includes:
	$(Q)awk -f tests/lint/includes.awk tests/lint/rooms $(LINT_C) $(LINT_H) $(LINT_T)
lint-sizes:
	$(Q)awk -f tests/lint/sizes.awk $(LINT_C) $(LINT_H)
	$(Q)printf '%s\n' $(filter runtime/% tuner/%,$(LINT_C) $(LINT_H)) | awk '{ sub("/[^/]*$$", ""); n[$$0]++ } \
	    END { for (d in n) if (n[d] > 25) { print d ": " n[d] " files, more than 25: give some a room of their own"; wrong = 1 } exit wrong }'
lint-words:
	$(Q)! grep -nE '\b(TODO|FIXME|XXX)\b' $(LINT_C) $(LINT_H) $(LINT_T) $(LINT_PY) $(wildcard reports/* db/*.sql tests/*.sh tests/*/*.sh docs/*.1 *.md)
lint-cppcheck:
	@mkdir -p $(LINT)/cppcheck
	$(Q)cppcheck --quiet --error-exitcode=1 --cppcheck-build-dir=$(LINT)/cppcheck -j $(shell nproc) --std=c11 --max-configs=1 \
	    --enable=warning,performance,portability --inline-suppr --suppress=missingIncludeSystem --suppress=missingInclude --suppress=ctuuninitvar \
	    --suppress=uninitStructMember --suppress=preprocessorErrorDirective --suppress=legacyUninitvar -D'json_array_foreach(array,index,value)=for(;;)' \
	    -D_GNU_SOURCE -D__GNUC__ -D__linux__ -D__x86_64__ -DMT_SOURCE_DIR='""' -I. \
	    $(filter-out tests/%,$(LINT_C))

.PHONY: lint-checks lint-includes lint-sizes lint-words lint-cppcheck
-include $(shell find $(LINT) -name '*.d' 2>/dev/null)
