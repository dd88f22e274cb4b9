# The same words as ./dev; arguments: make test ARGS="-k names"
WORDS := serve test check cover spec bench fuzz crash run

help:
	@./dev

$(WORDS):
	@./dev $@ $(ARGS)

.PHONY: help $(WORDS)
