# SPDX-License-Identifier: GPL-2.0
# mown. The first half is read by the kernel's build system, the second by make.
ifneq ($(KERNELRELEASE),)

obj-y += src/

else

# The kernel to build for; the virtual machine has one of its own.
KVER ?= $(shell uname -r)
KDIR ?= /lib/modules/$(KVER)/build
# The kernel that demo and check boot: see selftests/vmtest.sh
KERNEL ?= 6.1

vmtest = selftests/vmtest.sh -k $(KERNEL)
# The tests that mown passes where it does not see all frees
without_net = -T test_no_ftrace.py -T test-policy.sh -T test-unload.sh

help:
	@echo 'make                  build mown for the running kernel'
	@echo 'make KVER=VERSION     ... for another whose headers are installed'
	@echo 'make KDIR=DIRECTORY   ... for a kernel built or unpacked there'
	@echo 'make demo             see mown at work in a virtual machine'
	@echo 'make check            run all tests in a virtual machine, and check-uml beside'
	@echo 'make check-debug      ... on a kernel that checks itself (builds it first)'
	@echo 'make check-matrix     ... on Linux 6.1, 6.12 and newest; makes the table of README.md'
	@echo 'make check-in-tree    ... with mown built into the kernel (KERNEL=in-tree-m: its module)'
	@echo 'make check-arm64      ... on arm64, Linux 6.12 (or KERNEL=6.1-arm64)'
	@echo 'make check-kcsan      ... for data races'
	@echo 'make check-gcov       ... counting the lines of src/ that are run'
	@echo 'make check-uml        ... on User-Mode Linux, with failing allocations'
	@echo 'make soak             run the random tests for two hours'
	@echo 'make fuzz             write to all knobs and read all files at random'
	@echo 'make check-model      search all interleavings of a model of the records'
	@echo 'make sweep            load every module of the kernel under mown'
	@echo 'make sweep FAIL=1     ... and make their first allocations fail'
	@echo 'make bench            what a pair of kmalloc() and kfree() costs by each way'
	@echo 'make bench-native     ... in nanoseconds'
	@echo 'make coverage         what share of the modules'"'"' calls attach sees'
	@echo 'make static           run the static checks'
	@echo 'make check-compile    compile for other architectures'
	@echo 'make install          install the module; depmod is left to you'
	@echo 'make clean            remove what was built'

modules:
	@test -d $(KDIR)/scripts || { echo 'mown: no kernel headers in $(KDIR):' \
		'apt-get install linux-headers-$(KVER), or set KVER= or KDIR=' >&2; \
		exit 1; }
	+$(MAKE) -C $(KDIR) M=$(CURDIR) modules

install: modules
	+$(MAKE) -C $(KDIR) M=$(CURDIR) modules_install

clean:
	rm -rf build
	find src selftests -name '*.o' -o -name '*.ko' -o -name '*.mod' \
		-o -name '*.mod.c' -o -name '*.gcno' -o -name '.*.cmd' -o -name modules.order \
		-o -name Module.symvers | xargs -r rm -f
	rm -f Module.symvers modules.order .*.cmd

# What demo and check share: Debian's packages, the kernel, and mown for it.
guest-setup:
	selftests/setup.sh $(if $(filter %-arm64,$(KERNEL)),--arm64)$(if $(filter \
		sid,$(KERNEL)),--sid)$(if $(filter clang,$(KERNEL)),--cross)
	+$(MAKE) --no-print-directory modules KDIR="$$($(vmtest) --kdir)"

# One of the test modules is all that is shown.
demo: guest-setup
	+$(MAKE) --no-print-directory -C selftests/test_modules \
		KDIR="$$($(vmtest) --kdir)" MOWN=$(CURDIR) sources=mown_test_demo.c
	selftests/demo.sh $(KERNEL)

# On another kernel than the usual one User-Mode Linux would say nothing new
check: guest-setup
	selftests/$(if $(filter 6.1,$(KERNEL)),check-all.sh,check.sh) -k $(KERNEL)

# The suite under KASAN, lockdep, kmemleak and others, shorter where it is random
check-debug: KERNEL = debug
check-debug: export MOWN_OPS ?= 10000
check-debug: export MOWN_FAIL_STEP ?= 10
check-debug: guest-setup
	selftests/check.sh -k $(KERNEL) -m 2048 -o 1800 -t 7200 plain=page_owner=on

# The suite on other kernels; the results become the table in README.md
check-matrix:
	selftests/matrix.py $(NAMES)

# The suite with mown in the kernel's source: where, see build-kernel.sh
check-in-tree: KERNEL = in-tree
check-in-tree:
	selftests/setup.sh
	selftests/check.sh -k $(KERNEL)

# The suite on arm64, whose emulation is slow: shorter where it is random. On 6.1, whose
# ftrace tells no arguments there, what needs no net.
check-arm64: KERNEL = 6.12-arm64
check-arm64: export MOWN_OPS ?= 10000
check-arm64: guest-setup
	selftests/check.sh -k $(KERNEL) -o 1800 -t 7200 \
		$(if $(filter 6.1-% 6.1.%,$(KERNEL)),$(without_net) plain)

# What runs on several CPUs at once, where data races are looked for: one access in
# two hundred is watched, ten times as many as the configuration says
check-kcsan: KERNEL = kcsan
check-kcsan: export MOWN_OPS ?= 10000
check-kcsan: guest-setup
	selftests/check.sh -k $(KERNEL) -o 1800 -t 7200 -T test-unload.sh \
		-T test_kernel_frees.py -T test_litmus.py -T test_net.py \
		-T test_quarantine.py -T test_random_model.py -T test_rounds.py \
		-T test_stress.py "plain=ignore_loglevel kcsan.skip_watch=200"

# The suite, shorter where it is random, and which lines of src/ it runs; the others stand
# in build/log/gcov.missed. What argues them is in selftests/README.md.
check-gcov: KERNEL = gcov
check-gcov: export MOWN_OPS ?= 10000
check-gcov: export MOWN_GCOV = $(CURDIR)/build/gcov
check-gcov: guest-setup
	rm -rf build/gcov
	selftests/check.sh -k $(KERNEL) -o 1200 -t 7200; failed=$$?; \
	selftests/gcov.py --least 95 --missed build/log/gcov.missed $(MOWN_GCOV) && exit $$failed

# What needs no ftrace, at the host's speed: KASAN, lockdep, kmemleak, failslab
check-uml: KERNEL = uml-debug
check-uml: export ARCH = um
check-uml: guest-setup
	selftests/check.sh -k $(KERNEL) -o 1200 $(without_net) -T test_failslab.py \
		-T test_zz_debug.py plain

# A million operations against the model, half an hour of stress, and a hundred
# rounds of each kind of coming and going
soak: guest-setup
	MOWN_OPS=400000 MOWN_OPS_LESS=300000 MOWN_ROUNDS=100 MOWN_STRESS_SECONDS=1800 \
		selftests/check.sh -k $(KERNEL) -o 3600 -t 7200 -T test_random_model.py \
		-T test_rounds.py -T test_stress.py plain
	MOWN_ACCEL=tcg-single MOWN_ATTACH_ROUNDS=1000 \
		selftests/check.sh -k $(KERNEL) -o 6000 -t 7200 \
		-T test_attach_load.py attach_load

# Random writes, reads, comings and goings for a time, or STEPS of them; a run that
# fails says by which SEED and STEPS it is had again
SECONDS = 600
fuzz: guest-setup
	+$(MAKE) --no-print-directory -C selftests/test_modules \
		KDIR="$$($(vmtest) --kdir)" MOWN=$(CURDIR)
	MOWN_ACCEL=tcg-single $(vmtest) -a slub_debug=FZPU \
		-t $(if $(STEPS),86400,$$(($(SECONDS) + 600))) -- selftests/fuzz.py \
		$(if $(SEED),--seed $(SEED)) $(if $(STEPS),--steps $(STEPS),--seconds $(SECONDS))

# All interleavings of those who touch an address, and what is found without each lock
check-model:
	selftests/setup.sh --model
	selftests/model/check.sh

# Every module of the kernel, loaded and unloaded under mown; with FAIL=1 the first
# allocations of each are made to fail, one after the other
sweep: guest-setup
	selftests/sweep.py -k $(KERNEL) $(if $(FAIL),--fail)

# What an allocation and its free cost, in instructions: builds two kernels
bench: guest-setup
	selftests/setup.sh --bench
	+$(MAKE) --no-print-directory -C selftests/bench \
		KDIR="$$($(vmtest) --kdir)" MOWN=$(CURDIR)
	selftests/bench/bench.py $(KERNEL)

# The same in nanoseconds: builds three kernels
bench-native:
	selftests/setup.sh
	selftests/bench/bench_native.py

# What share of the calls in the kernel's modules attach sees
coverage: guest-setup
	selftests/attach_coverage.py "$$($(vmtest) --kdir)/../../../lib/modules"

# 32 bits, big-endian, and other compilers' views of it; nothing is run
check-compile:
	selftests/setup.sh --cross
	selftests/compile-elsewhere.sh

static: guest-setup
	selftests/static.sh "$$($(vmtest) --kdir)"

.PHONY: help modules install clean guest-setup demo check check-arm64 check-debug check-gcov \
	check-in-tree check-kcsan check-uml check-matrix check-model check-compile soak fuzz \
	sweep bench bench-native coverage static
.DEFAULT_GOAL := modules
endif
