# The front door: every command a person or CI needs. `make` alone lists them.
export PYTHON
# The tests start hundreds of processes: what they import is compiled once, not by each of them.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
CODE := packages tests benchmarks conftest.py forking.py processes.py

.DEFAULT_GOAL := help
.PHONY: help serve test check format lint types imports browser pictures bench bench-peers openapi migrate requirements environment clean

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

serve: ## set up, add a demo merchant, serve (PORT=8000 WORKERS=1)
	@scripts/environment.sh serve
	@exec $(BIN)/ecross-server serve --demo $(if $(PORT),--port $(PORT)) $(if $(WORKERS),--workers $(WORKERS)) \
	    $$(scripts/port_beside.sh $(PORT))

test: check browser ## everything: format, lint, types, imports, all tests
	@$(BIN)/pytest

check: format lint types imports ## the fast gates only

environment:
	@scripts/environment.sh dev

format: environment
	$(BIN)/ruff format --check $(CODE)

lint: environment
	$(BIN)/ruff check $(CODE)

types: environment
	$(BIN)/mypy

imports: environment
	$(BIN)/lint-imports

browser:
	@scripts/browser.sh

pictures: environment browser ## draw the guides' pictures of pages again
	@ECROSS_TEST_PICTURES=1 $(BIN)/pytest -n 1 --no-cov tests/browser

bench: environment ## our benchmarks: start-up, memory, CPU per request
	@$(BIN)/python -m benchmarks

bench-peers: environment ## beside other servers: benchmarks/REPORT.md (QUICK=1)
	@$(BIN)/python -m benchmarks.peers $(if $(QUICK),--quick) $(if $(PROVISIONAL),--provisional)

openapi: environment ## rewrite the OpenAPI documents in docs/ from the code
	@$(BIN)/ecross-server openapi > docs/openapi.json.new && mv docs/openapi.json.new docs/openapi.json
	@$(BIN)/ecross-server openapi --admin > docs/openapi.json.new && mv docs/openapi.json.new docs/admin-openapi.json

migrate: ## bring the database to this version's schema
	@scripts/environment.sh serve
	@$(BIN)/ecross-server migrate

requirements: ## resolve requirements/*.in again (needs uv)
	@scripts/requirements.sh

clean: ## remove the environment and caches; the data stays
	rm -rf .venv .peers .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis htmlcov .coverage .coverage.*
