# Vitrine. `make help` lists the targets; every source file is found by wildcard, nothing is listed by hand.
#   config=release|debug|asan|tsan   CUDA=0 (1 and sim are reserved for the CUDA back end)
MAKEFLAGS += -r
.DEFAULT_GOAL := all
config ?= release
CUDA ?= 0
ifneq ($(CUDA),0)
$(error CUDA=$(CUDA): the CUDA back end is not in this tree yet; build with CUDA=0)
endif
comma := ,
FUZZ_SECONDS ?= 60
BUILD ?= build/$(config)-$(CUDA)

FLAGS.release := -O3 -g1
FLAGS.debug := -O0 -g
FLAGS.asan := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
FLAGS.tsan := -O1 -g -fsanitize=thread
ifeq ($(FLAGS.$(config)),)
$(error config=$(config): expected release, debug, asan or tsan)
endif
# -ffp-contract=off: rounding is part of every operator's definition (docs/decisions.md, "Numbers"). -fno-trapping-math changes no value;
# it lets selects vectorise.
# -fno-tree-slp-vectorize: g++ 12.2's straight-line vectoriser drops the rounding of double(float(x)) (tests: DataAlign.AlignUses...).
CXXFLAGS := -std=c++20 -I. -I$(BUILD)/gen -Wall -Wextra -Wno-missing-field-initializers -Wno-restrict $(if $(CI),-Werror) \
            -ffp-contract=off -fno-trapping-math -fno-tree-slp-vectorize -fopenmp -MMD -MP $(FLAGS.$(config)) $(EXTRA_CXXFLAGS)
LDFLAGS := -fopenmp $(FLAGS.$(config))
LDLIBS := -ljpeg -lpng -lzip -lprotobuf -lpthread
# Files of one instruction set carry it in their name and are the only ones compiled for it.
ISA.avx2 := -mavx2 -mfma
ISA.avx512 := -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma
ISA.vnni := $(ISA.avx512) -mavx512vnni
isa = $(foreach i,avx2 avx512 vnni,$(if $(filter %_$(i).cc,$(1)),$(ISA.$(i))))

COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)$(shell git diff --quiet HEAD 2>/dev/null || echo +changes)

LIBRARY := $(wildcard engine/core/*.cc engine/cpu/*.cc engine/ops/*.cc engine/graph/*.cc nn/*.cc nn/io/*.cc losses/*.cc \
             data/*.cc quant/*.cc quant/ops/*.cc prune/*.cc eval/*.cc)
PROTOS := $(wildcard nn/io/*.proto)
TOOL := $(wildcard tools/*.cc)
TESTS ?= $(wildcard tests/unit/*.cc tests/cases/*.cc)
TEST_SUPPORT := $(wildcard tests/support/*.cc)
BENCHES := $(wildcard bench/*.cc)

obj = $(patsubst %.cc,$(BUILD)/obj/%.o,$(1))
PROTO_OBJ := $(patsubst %.proto,$(BUILD)/obj/gen/%.pb.o,$(PROTOS))
LIB_OBJ := $(call obj,$(LIBRARY)) $(PROTO_OBJ)
TOOL_LIB_OBJ := $(call obj,$(filter-out tools/main.cc,$(TOOL)) $(wildcard bench/peak*.cc))

all: build/vitrine  ## build/vitrine, the command
help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 16

build/vitrine: $(BUILD)/bin/vitrine
	@ln -sf $(patsubst build/%,%,$<) $@

test: deps  ## the whole test suite; ends with "N passed, N failed, N skipped"
	@$(MAKE) --no-print-directory $(BUILD)/bin/tests build/vitrine
	@$(BUILD)/bin/tests $(TEST_ARGS)
bench: deps  ## microbenchmarks on the layer shapes of real networks
	@$(MAKE) --no-print-directory $(BUILD)/bin/bench
	@$(BUILD)/bin/bench $(BENCH_ARGS)
fuzz: deps  ## every parser on damaged files, under the sanitizers: FUZZ_SECONDS each, of FUZZ_PARSERS (default: all)
	@$(MAKE) --no-print-directory config=asan build/asan-0/bin/fuzz
	@build/asan-0/bin/fuzz $(FUZZ_SECONDS) $(FUZZ_PARSERS)
demo: deps  ## the whole job on built-in data
	@$(MAKE) --no-print-directory build/vitrine
	@build/vitrine demo $(DEMO_ARGS)
check:  ## floors, budgets, format
	@tools/check.sh
deps:
	@tools/setup.sh
clean:  ## removes build/
	rm -rf build
.PHONY: all help test bench fuzz demo check deps clean FORCE

$(BUILD)/bin/vitrine: $(LIB_OBJ) $(TOOL_LIB_OBJ) $(call obj,tools/main.cc)
$(BUILD)/bin/tests: $(LIB_OBJ) $(TOOL_LIB_OBJ) $(call obj,$(TESTS) $(TEST_SUPPORT) tests/main.cc)
$(BUILD)/bin/tests: LDLIBS += -lgtest
$(BUILD)/bin/fuzz: $(LIB_OBJ) $(call obj,$(TEST_SUPPORT) tests/fuzz/fuzz.cc)
$(BUILD)/bin/bench: $(LIB_OBJ) $(TOOL_LIB_OBJ) $(call obj,$(filter-out bench/peak%,$(BENCHES)))
$(BUILD)/bin/bench: LDLIBS += -lbenchmark $(if $(wildcard /usr/include/oneapi/dnnl/dnnl.hpp),-ldnnl)
$(BUILD)/bin/%:
	@mkdir -p $(@D)
	@echo "link $@"
	@$(CXX) $(LDFLAGS) $^ $(LDLIBS) -o $@

$(BUILD)/obj/%.o: %.cc $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "c++  $<"
	@$(CXX) $(CXXFLAGS) $(call isa,$<) $(if $(filter tools/run_record.cc,$<),-DVITRINE_COMMIT='"$(COMMIT)"') -c $< -o $@
$(BUILD)/gen/%.pb.cc $(BUILD)/gen/%.pb.h: %.proto
	@mkdir -p $(BUILD)/gen
	@protoc --cpp_out=$(BUILD)/gen $<
$(BUILD)/obj/gen/%.pb.o: $(BUILD)/gen/%.pb.cc
	@mkdir -p $(@D)
	@$(CXX) $(CXXFLAGS) -w -c $< -o $@
# The generated headers must exist before any file that includes them is first compiled.
$(call obj,$(wildcard nn/io/*.cc tests/unit/*.cc) $(TEST_SUPPORT)): | $(PROTOS:%.proto=$(BUILD)/gen/%.pb.h)
# Changed flags rebuild everything; a changed commit rebuilds the run record.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CXX) $(CXXFLAGS)' | cmp -s - $@ || echo '$(CXX) $(CXXFLAGS)' > $@
$(BUILD)/commit: FORCE
	@mkdir -p $(@D)
	@echo '$(COMMIT)' | cmp -s - $@ || echo '$(COMMIT)' > $@
$(BUILD)/obj/tools/run_record.o: $(BUILD)/commit

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
