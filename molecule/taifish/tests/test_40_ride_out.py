"""Redis and PostgreSQL restart; the application is there again without help."""

from __future__ import annotations

import pytest
from shared_serving import assert_owners, owners_of_files
from support import Machine, wait_until
from taifish_site import administrator, ensure_content, kept, visitor


@pytest.mark.parametrize("service", ["postgres", "redis"])
@pytest.mark.parametrize("way", ["restart", "kill"])
def test_a_data_service_that_restarts_is_ridden_out(
    settled: Machine, stack: str, service: str, way: str
) -> None:
    ensure_content(settled)
    before, someone = kept(settled), administrator(settled)
    own = {n: r for n, r in settled.runs(stack).items() if n != service}
    if way == "restart":
        settled.sh(f"docker restart {stack}-{service}")
    else:
        settled.sh(f"kill -9 $(docker inspect -f '{{{{.State.Pid}}}}' {stack}-{service})")
    wait_until("it is ready again", lambda: visitor(settled).get("/health").status == 200)
    assert kept(settled) == before
    page = someone.get("/admin")
    assert page.status == 200 and page.url.endswith("/admin"), "sessions outlive it"
    assert {n: r for n, r in settled.runs(stack).items() if n != service} == own
    assert_owners(settled, owners_of_files(settled, stack))
