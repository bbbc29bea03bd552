# organtwin: two commands. Each sets up what the machine lacks; second runs start at once.
#
#   make rehearse   the sample patient, from scan to open window (without a display: pictures, movie, report)
#   make test       every check
#   make setup      the set-up alone

ORGANTWIN = .venv/bin/organtwin

.PHONY: rehearse test setup setup-test clean

rehearse: setup
	@$(ORGANTWIN) demo $(ARGS)

test: setup-test
	@.venv/bin/python -m pytest $(ARGS)

setup:
	@sh tools/setup.sh

setup-test:
	@sh tools/setup.sh test

clean:
	rm -rf .venv organtwin-demo
