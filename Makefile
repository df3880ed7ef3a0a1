# Synoptic. `make help` lists the targets.
GO      ?= go
FUZZTIME ?= 30s
ROUNDS ?= 5
# Git refuses to tell root of somebody else's checkout; then the programs do not
# know their revision.
VCS := $(shell git rev-parse HEAD >/dev/null 2>&1 || echo -buildvcs=false)
FUZZERS := internal/target:FuzzTargets internal/target:FuzzPorts internal/wire:FuzzDecode \
           internal/wire:FuzzICMPQuote internal/wire:FuzzNeighbour internal/checkpoint:FuzzRead \
           internal/ledger:FuzzUnmarshal rx:FuzzClassify detector/filter:FuzzCompile detector/twin:FuzzDecode \
           detector/twin:FuzzRun detector/twin:FuzzKernel detector/capture:FuzzReader internal/output:FuzzHosts

OURS := ^Benchmark(Sweep|Connect|Receive|Detector|Growth|Limit)$$

.PHONY: help ci build test lint vuln generate drift fuzz bench baseline bench-diff compare demo clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## the programs, into bin/
	$(GO) build -trimpath $(VCS) -o bin/ ./cmd/synlab ./cmd/synscan
	CGO_ENABLED=0 $(GO) build -trimpath $(VCS) -o bin/ ./cmd/synwatch

test: ## every test; installs what is missing (Debian packages, as root)
	@scripts/need test
	$(GO) test -p 1 -timeout 30m ./...

lint: ## gofmt, vet, staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'lint: the files above are not formatted'; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

vuln: ## known vulnerabilities; asks the Go vulnerability database
	$(GO) tool govulncheck ./...

generate: ## the BPF objects and their Go types, with Debian's clang 14
	@scripts/need generate
	$(GO) generate ./...

drift: generate ## fails if generate changes what is committed
	git -c safe.directory='*' diff --exit-code -- bpf

fuzz: ## each fuzzer for FUZZTIME (30s, or a count as in 10000x)
	@for f in $(FUZZERS); do \
	  echo "fuzz $$f"; $(GO) test ./$${f%%:*} -run '^$$' -fuzz "^$${f##*:}\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x || exit 1; done

bench: ## every benchmark, kept in bin/bench.txt; see bench/README.md
	@scripts/need bench
	GO="$(GO)" scripts/bench bin/bench.txt -run '^$$' -bench . -timeout 60m ./...

# Four rounds are the fewest of which benchstat can tell a difference at its level of 5 %.
baseline: ## our own programs, four times, into bench/results/baseline.txt
	GO="$(GO)" scripts/bench bench/results/baseline.txt -run '^$$' -bench '$(OURS)' -benchtime 1x -count 4 -timeout 20m ./bench

OLD ?= bench/results/baseline.txt
NEW ?= bin/bench.txt
bench-diff: ## benchstat of OLD (the baseline) and NEW (the last make bench)
	$(GO) tool benchstat -ignore date,commit,command $(OLD) $(NEW)

compare: ## us and the peers at the same work in turn; writes bench/REPORT.md (root, half an hour)
	@scripts/need bench
	$(GO) test ./bench -run '^TestCompare$$' -rounds $(ROUNDS) -parallel 4 -v -timeout 60m
	$(GO) test ./bench/report -run '^TestWhatIsWrittenIsWhatWasMeasured$$' -update

demo: build ## a sweep of a simulated network of a million addresses, and who notices (root)
	bin/synlab demo

ci: lint build drift test ## what CI runs
	$(GO) test -race ./tx ./rx ./internal/ledger ./internal/plan ./internal/wire ./internal/connect ./internal/output ./internal/checkpoint
	$(GO) test -race ./cmd/synscan -skip 'KilledSweeps|StackSeesNone|SignalsNeither|KernelPathCannotBe|MoreRanges|OneCPU|BeginsSoon|TrafficThat|BesideAnother'
	$(GO) test -race ./detector/sink ./detector/capture ./detector/twin -skip 'Kernel|Tcpdump'
	$(GO) test -race ./internal/scan -skip 'InTheLab|AnswersAtFullSpeed|Personalities|RealHosts|Loopback|FindsExactly|FourShards|Starved|Estimates|Bottleneck|NoNetworkGets|TheRate|TheCeiling|MoreIsUsed|ALossAt|WhatIsNotSent|AnOverrun'
	@scripts/need bench
	$(GO) test -run '^$$' -bench . -benchtime 1x ./...
	$(MAKE) fuzz FUZZTIME=50000x

clean: ## removes what was built
	rm -rf bin
