# A thin front: Meson does the work. `make` builds into build/.
BUILD ?= build
PREFIX ?= /usr/local

.PHONY: all deps demo test bench lint fmt asan ubsan tsan fuzz install clean
all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

deps:
	@scripts/deps

$(BUILD)/build.ninja: | deps
	@meson setup $(BUILD) --prefix=$(PREFIX) $(if $(CI),--werror)

demo: all
	@scripts/demo

test: all
	@scripts/test

bench: all
	@scripts/bench

lint:
	@scripts/lint

fmt:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

asan ubsan tsan:
	@scripts/sanitize $@

fuzz:
	@scripts/fuzz

install: all
	@ninja -C $(BUILD) install

clean:
	@rm -rf $(BUILD)
