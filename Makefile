# Vitrine. `make help` lists the targets; every source file is found by wildcard, nothing is listed by hand.
#   config=release|debug|asan|tsan
#   CUDA=0|1|sim   without CUDA; with it (nvcc); with its kernels compiled by g++ and run on the cpu, thread by thread (engine/cuda/sim.h)
#   CUDA_ARCH=80   compute capabilities of CUDA=1, e.g. "75 80 86 89 90"; newer devices compile the last one's PTX when they start
MAKEFLAGS += -r
# What a target hands on, once the packages are there: as many compilers as there are cores, unless -j says otherwise.
AGAIN = --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))
.DEFAULT_GOAL := all
config ?= release
CUDA ?= 0
CUDA_HOME ?= /usr/local/cuda
CUDA_ARCH ?= 80
NVCC ?= $(or $(shell command -v nvcc),$(wildcard $(CUDA_HOME)/bin/nvcc))
ifeq ($(filter 0 1 sim,$(CUDA)),)
$(error CUDA=$(CUDA): expected 0, 1 or sim)
endif
ifeq ($(CUDA)$(NVCC),1)
$(error CUDA=1: no nvcc in PATH or $(CUDA_HOME)/bin; set NVCC, or build with CUDA=0 or CUDA=sim)
endif
ifneq ($(shell uname -m),x86_64)
$(error $(shell uname -m): expected x86_64, the only machine that the kernels are written for)
endif
comma := ,
FUZZ_SECONDS ?= 60
BUILD ?= build/$(config)
BIN ?= $(BUILD)-$(CUDA)/bin

FLAGS.release := -O3 -g1
FLAGS.debug := -O0 -g
FLAGS.asan := -O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
FLAGS.tsan := -O1 -g1 -fsanitize=thread
ifeq ($(FLAGS.$(config)),)
$(error config=$(config): expected release, debug, asan or tsan)
endif
# -ffp-contract=off: rounding is part of every operator's definition (docs/decisions.md, "Numbers"). -fno-trapping-math changes no value;
# it lets selects vectorise.
# -fno-tree-slp-vectorize: g++ 12.2's straight-line vectoriser drops the rounding of double(float(x)) (tests: DataAlign.AlignUses...).
CXXFLAGS := -std=c++20 -I. -I$(BUILD)/gen -Wall -Wextra -Wno-missing-field-initializers -Wno-restrict \
            $(if $(findstring clang,$(CXX)),-Wno-unknown-warning-option) $(if $(CI),-Werror) \
            -ffp-contract=off -fno-trapping-math -fno-tree-slp-vectorize -fopenmp -MMD -MP $(FLAGS.$(config)) $(EXTRA_CXXFLAGS)
LDFLAGS := -fopenmp $(FLAGS.$(config))
LDLIBS := -ljpeg -lpng -lzip -lprotobuf -lpthread $(if $(filter 1,$(CUDA)),-L$(CUDA_HOME)/lib64 -lcudart_static -ldl -lrt)
# The same law for kernels: nothing is contracted, what is fused says fmaf.
NVCCFLAGS := -std=c++20 -I. -O3 -fmad=false --extended-lambda --expt-relaxed-constexpr -compress-mode=size \
             -Xcompiler -ffp-contract=off,-fopenmp,-Wall,-Wno-restrict \
             $(foreach a,$(CUDA_ARCH),-gencode arch=compute_$(a),code=sm_$(a)) \
             -gencode arch=compute_$(lastword $(CUDA_ARCH)),code=compute_$(lastword $(CUDA_ARCH)) -MMD -MP
# What a kernel would keep in memory and not in registers is an error in CI: no machine here would show how slow that is.
REGISTERS := $(if $(CI),-Xptxas -warn-lmem-usage$(comma)-warn-spills$(comma)-Werror)
$(BUILD)/obj-1/engine/ops/classify_cuda.cu.o: REGISTERS :=  # for libm's cosine of large angles, which no margin has
CUDA_FLAGS.1 := -isystem $(CUDA_HOME)/include
CUDA_FLAGS.sim := -DVITRINE_CUDA_SIM
# Commands and tests compute nothing at length, and are most of what there is to compile.
level = $(if $(filter release/tools/% release/tests/%,$(config)/$(1)),-O1)
# Files of one instruction set carry it in their name and are the only ones compiled for it.
ISA.avx2 := -mavx2 -mfma
ISA.avx512 := -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma
ISA.vnni := $(ISA.avx512) -mavx512vnni
# g++ 12 calls its own intrinsics' undefined values uninitialised where a sanitizer keeps it from seeing through them.
isa = $(foreach i,avx2 avx512 vnni,$(if $(filter %_$(i).cc,$(1)),$(ISA.$(i)) -Wno-maybe-uninitialized))

COMMIT := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)$(shell git diff --quiet HEAD 2>/dev/null || echo +changes)

LIBRARY := $(wildcard engine/core/*.cc engine/cpu/*.cc engine/ops/*.cc engine/graph/*.cc nn/*.cc nn/io/*.cc losses/*.cc \
             data/*.cc quant/*.cc quant/ops/*.cc prune/*.cc eval/*.cc)
CUDA_SOURCE.1 := $(filter-out engine/cuda/sim.cc,$(wildcard engine/cuda/*.cc)) $(wildcard engine/ops/*.cu quant/ops/*.cu)
CUDA_SOURCE.sim := $(wildcard engine/cuda/sim.cc engine/cuda/fault.cc engine/ops/*.cu quant/ops/*.cu)
PROTOS := $(wildcard nn/io/*.proto)
TOOL := $(wildcard tools/*.cc)
TESTS ?= $(wildcard tests/unit/*.cc tests/cases/*.cc)
TEST_SUPPORT := $(wildcard tests/support/*.cc)
TEST_CUDA.sim := $(wildcard tests/cuda/*.cu)
TEST_CUDA.1 := $(wildcard tests/cuda/*_test.cc)
BENCHES := $(wildcard bench/*.cc)

# Only the back end itself differs between CUDA=0, 1 and sim; all other objects are shared.
cuda_obj = $(patsubst %,$(BUILD)/obj-$(CUDA)/%.o,$(1))
obj = $(patsubst %.cc,$(BUILD)/obj/%.o,$(1))
PROTO_OBJ := $(patsubst %.proto,$(BUILD)/obj/gen/%.pb.o,$(PROTOS))
LIB_OBJ := $(call obj,$(LIBRARY)) $(call cuda_obj,$(CUDA_SOURCE.$(CUDA))) $(PROTO_OBJ)
TOOL_LIB_OBJ := $(call obj,$(filter-out tools/main.cc,$(TOOL)) $(wildcard bench/peak*.cc))

all: deps  ## build/vitrine, the command
	@$(MAKE) $(AGAIN) build/vitrine
help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | expand -t 16

build/vitrine: $(BIN)/vitrine
	@ln -sf $(patsubst build/%,%,$<) $@

test: deps  ## the whole test suite; ends with "N passed, N failed, N skipped"
	@$(MAKE) $(AGAIN) $(BIN)/tests build/vitrine
	@$(if $(filter 1,$(CUDA)),TEST_JOBS=$${TEST_JOBS:-1}) tests/run $(BIN)/tests $(TEST_ARGS)  # one at a time on a GPU
test-full:  ## the suite also under the sanitizers and on the simulated device, and each parser on damaged files
	@$(MAKE) $(AGAIN) test
	@$(MAKE) $(AGAIN) signature
	@$(MAKE) $(AGAIN) config=asan test
	@$(MAKE) $(AGAIN) CUDA=sim test TEST_ARGS=--gtest_filter='*Cuda*:Sim*'
	@$(MAKE) $(AGAIN) fuzz
signature: deps  ## one hash of what a tiny job computes, compared with tests/signature.txt
	@$(MAKE) $(AGAIN) build/vitrine
	@tests/signature build/vitrine | tee build/signature.txt
	@cmp -s build/signature.txt tests/signature.txt || { echo "signature: expected $$(cat tests/signature.txt) (tests/signature.txt)"; exit 1; }
bench: deps  ## microbenchmarks on the layer shapes of real networks
	@$(MAKE) $(AGAIN) $(BIN)/bench
	@$(BIN)/bench $(BENCH_ARGS)
fuzz: deps  ## every parser on damaged files, under the sanitizers: FUZZ_SECONDS each, of FUZZ_PARSERS (default: all)
	@$(MAKE) $(AGAIN) config=asan build/asan-0/bin/fuzz
	@build/asan-0/bin/fuzz $(FUZZ_SECONDS) $(FUZZ_PARSERS)
gpu-bundle: deps  ## build/gpu-bundle: tests and benchmarks to run on a GPU machine
	@$(MAKE) $(AGAIN) CUDA=1 build/release-1/bin/tests build/release-1/bin/gpu_bench build/release-1/bin/vitrine
	@tools/bundle.sh build/release-1/bin build/gpu-bundle
demo: deps  ## the whole job on built-in data
	@$(MAKE) $(AGAIN) build/vitrine
	@build/vitrine demo $(DEMO_ARGS)
check:  ## floors, budgets, format
	@tools/check.sh
deps:
	@tools/setup.sh
clean:  ## removes build/
	rm -rf build
.PHONY: all help test test-full signature bench fuzz gpu-bundle demo check deps clean FORCE

$(BIN)/vitrine: $(LIB_OBJ) $(TOOL_LIB_OBJ) $(call obj,tools/main.cc)
$(BIN)/tests: $(LIB_OBJ) $(TOOL_LIB_OBJ) $(call obj,$(TESTS) $(TEST_SUPPORT) tests/main.cc) $(call cuda_obj,$(TEST_CUDA.$(CUDA)))
$(BIN)/tests: LDLIBS += -lgtest
ifeq ($(CUDA),1)
$(BIN)/tests: $(call obj,bench/layers.cc) | $(BIN)/driver/libcuda.so.1
endif
$(BIN)/driver/libcuda.so.1: tests/cuda/driver.cc
	@mkdir -p $(@D)
	@echo "link $@"
	@$(CXX) -std=c++20 -shared -fPIC -Wl,-soname,$(@F) $< -o $@
$(BIN)/fuzz: $(LIB_OBJ) $(call obj,$(TEST_SUPPORT) tests/fuzz/fuzz.cc)
$(BIN)/bench: $(LIB_OBJ) $(TOOL_LIB_OBJ) $(call obj,$(filter-out bench/peak%,$(BENCHES)))
$(BIN)/bench: LDLIBS += -lbenchmark $(if $(wildcard /usr/include/oneapi/dnnl/dnnl.hpp),-ldnnl)
$(BIN)/gpu_bench: $(LIB_OBJ) $(TOOL_LIB_OBJ) $(call obj,$(wildcard bench/cuda/*.cc) bench/layers.cc)
$(BIN)/%:
	@mkdir -p $(@D)
	@echo "link $@"
	@$(CXX) $(LDFLAGS) $^ $(LDLIBS) -o $@

$(BUILD)/obj/%.o: %.cc $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "c++  $<"
	@$(CXX) $(CXXFLAGS) $(call level,$<) $(call isa,$<) $(if $(filter tools/run_record.cc,$<),-DVITRINE_COMMIT='"$(COMMIT)"') -c $< -o $@
$(BUILD)/obj-$(CUDA)/%.cc.o: %.cc $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "c++  $<"
	@$(CXX) $(CXXFLAGS) $(CUDA_FLAGS.$(CUDA)) -c $< -o $@
$(BUILD)/obj-sim/%.cu.o: %.cu $(BUILD)/flags
	@mkdir -p $(@D)
	@echo "c++  $<"
	@$(CXX) $(CXXFLAGS) $(CUDA_FLAGS.sim) -x c++ -c $< -o $@
$(BUILD)/obj-1/%.cu.o: %.cu $(BUILD)/nvccflags
	@mkdir -p $(@D)
	@echo "nvcc $<"
	@$(NVCC) $(NVCCFLAGS) $(REGISTERS) -c $< -o $@
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
$(BUILD)/nvccflags: FORCE
	@mkdir -p $(@D)
	@echo '$(NVCC) $(NVCCFLAGS) $(REGISTERS)' | cmp -s - $@ || echo '$(NVCC) $(NVCCFLAGS) $(REGISTERS)' > $@
$(BUILD)/commit: FORCE
	@mkdir -p $(@D)
	@echo '$(COMMIT)' | cmp -s - $@ || echo '$(COMMIT)' > $@
$(BUILD)/obj/tools/run_record.o: $(BUILD)/commit

-include $(shell find $(BUILD)/obj $(BUILD)/obj-$(CUDA) -name '*.d' 2>/dev/null)
