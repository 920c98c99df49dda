# The commands of the README. Everything they make lies in .venv/ and .state/.
#
#   make up                  a throwaway Debian 13 host that serves tg2em on this machine
#   make up PORTS=15000,18088    the same on other ports than 5000 and 8088
#   make status | logs | ssh     look at it (make logs SERVICE=frontend)
#   make down                remove it (make clean: also images and environments)
#   make local STACK=chatbot     its own services as your processes: no root, no Docker (WS=3: workers)
#   make local-down STACK=chatbot
#   make test                lint, unit and contract tests, every Molecule scenario
#   make lint | test-unit | test-molecule SCENARIO=unified
#   make test-long           thirty updates of a host without a free processor; 10,000 operations of a supervisor
#   make test-mutation       which small mistakes no fast test notices (MINUTES=20)
#   make bench               the figures of the closing notes
#   make bench-rollout       what an update costs, beside docker compose and a start.sh
#   make bench-edge          answers a second through the edge, beside the application and plain nginx
#   make bench-backup        backup and restore for each gigabyte, beside pg_dump and restic by hand
#   make bench-host          kills, memory, updates without containers, beside containers (ARGS="kill memory")
#   make bench-supervisor    kills, memory, logs of the process supervisor beside runit, s6, Supervisor, circus, PM2
#   make docs                write the tables of docs/ and of the roles' READMEs
#   make lock                renew requirements/*.txt from requirements/*.in

.DEFAULT_GOAL := help
.PHONY: help up down ssh logs status local local-down lint test test-unit test-long test-mutation test-molecule bench bench-rollout bench-edge bench-backup bench-host bench-supervisor docs lock clean \
	controller dev

devtool = .venv/bin/python -m devtool
rootless = .venv/bin/python -m devtool.rootless

help:
	@sed -n '/^#   make/s/^#   /  /p' Makefile

controller:
	@scripts/bootstrap controller

dev: controller
	@scripts/bootstrap dev

up: controller
	@$(devtool) up $(if $(PORTS),--ports $(PORTS))

down ssh status: controller
	@$(devtool) $@

local: controller
	@$(rootless) up $(STACK)

local-down: controller
	@$(rootless) down $(STACK)

logs: controller
	@$(devtool) logs $(SERVICE)

lint test-unit test-long test-mutation: dev
	@$(devtool) $@

test: dev
	@$(devtool) test

test-molecule: dev
	@$(devtool) test-molecule $(SCENARIO)

bench: dev
	@$(devtool) $@

bench-rollout bench-edge bench-backup bench-host bench-supervisor: dev
	@$(devtool) $@ $(ARGS)

docs lock: dev
	@$(devtool) $@

clean: controller
	@$(devtool) clean
	@rm -rf .venv .state
