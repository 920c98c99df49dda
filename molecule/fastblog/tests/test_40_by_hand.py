"""The same four by hand, as files/stacks/fastblog/host has them, once the stack is off the host.

Under the supervisor alone: document's names, ports, logs and restarts, alerts by mail and webhook,
the rotation of logs, and a boot with a dependency that is late.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastblog_site import STACK, receive, taken
from playbook import play
from support import Machine, outer, wait_until

_HOST = Path(__file__).parents[3] / "files/stacks/fastblog/host"
_GAVE_UP = "update_server is not restarted any more"
# What the host's own file adds to the stack's: whom to tell.
_SITE = {
    "supervisor": {
        "alerts": {
            "settle_seconds": 1,
            "channels": [
                {"name": "ops", "type": "webhook", "url": "http://127.0.0.1:8099/hook"},
                {"name": "mail", "type": "mail", "from": "blog@example.com",
                 "to": ["ops@example.com"], "port": 2525},
            ],
        }
    },
    # Nobody waits for five seconds three times.
    "processes": [{"name": "update_server", "restart_delay": 0.1, "restart_delay_max": 0.1}],
}  # fmt: skip
_CODE = """
set -eu
home=$(dirname "$(ls -t /opt/fastblog/environments/*/.complete | head -n 1)")
rm -rf /srv/kept && mkdir /srv/kept && cp -a "$home/app" "$home/moorage" "$home/venv" /srv/kept
"""
_INSTALL = """
set -eu
rm -rf /opt/fastblog && mv /srv/kept /opt/fastblog
useradd --system --no-create-home fastblog 2>/dev/null || true
install -d -m 0750 -g fastblog /etc/fastblog
for name in session_key admin_password api_token ipc_token; do
    head -c 64 /dev/urandom | base64 | tr -dc A-Za-z0-9 | head -c 40 |
        install -m 0400 -o fastblog /dev/stdin /etc/fastblog/$name
done
install -m 0400 -o fastblog /dev/null /etc/fastblog/release.pub
install -m 0600 -o fastblog /root/hand/environment /etc/fastblog/environment
install -m 0644 /root/hand/supervisor.json /root/hand/site.json /etc/fastblog
install -m 0644 /root/hand/logrotate /etc/logrotate.d/fastblog
sed 's#--config /etc/fastblog/supervisor.json#& --config /etc/fastblog/site.json#' \\
    /root/hand/fastblog.service > /etc/systemd/system/fastblog.service
systemctl daemon-reload && systemctl enable --now --quiet fastblog
"""


def ask(machine: Machine, words: str) -> str:
    """Say something to the supervisor."""
    command = "python3 -m process_supervisor --socket /run/fastblog/control.sock"
    return machine.sh(f"PYTHONPATH=/opt/fastblog/moorage {command} {words}")


def states(machine: Machine) -> dict[str, Any]:
    """Return the status of each process."""
    return {found["name"]: found for found in json.loads(ask(machine, "status --json"))}


def test_the_stack_goes_and_the_four_come_by_hand(machine: Machine) -> None:
    machine.sh(_CODE)
    assert play("playbooks/remove.yml", stack=STACK, remove_data=True, confirm=STACK).ok
    machine.sh("mkdir -p /root/hand")
    outer("cp", f"{_HOST}/.", f"{machine.name}:/root/hand")
    machine.sh(f"echo '{json.dumps(_SITE)}' > /root/hand/site.json")
    receive(machine)
    machine.sh(_INSTALL)
    wait_until("it serves", lambda: machine.sh("curl -sf http://127.0.0.1:9421/"), seconds=60)
    found = states(machine)
    assert {name: status["state"] for name, status in found.items()} == {
        "ipc_server": "RUNNING", "update_server": "RUNNING", "main_app": "RUNNING",
        "updater": "STOPPED",
    }  # fmt: skip
    owners = machine.sh("stat -c '%U %n' /var/log/fastblog/*.log").splitlines()
    assert {line.partition(" ")[0] for line in owners} == {"fastblog"} and len(owners) >= 6
    assert {"main_app.log", "ipc_server.err.log"} <= {line.rpartition("/")[2] for line in owners}


def test_one_that_gives_up_is_told_by_mail_and_webhook_once(machine: Machine) -> None:
    while (status := states(machine)["update_server"])["state"] != "FATAL":
        if status["pid"]:
            machine.sh(f"kill -KILL {status['pid']} 2>/dev/null || true")

    def posted(state: str) -> list[dict[str, Any]]:
        found = map(json.loads, taken(machine, "webhook"))
        return [each for each in found if (each["kind"], each["state"]) == ("fatal", state)]

    def mailed() -> list[str]:
        lines = "\n".join(taken(machine, "mail")).replace("\r", "").replace("\n ", " ").split("\n")
        return [line for line in lines if line.startswith("Subject:") and _GAVE_UP in line]

    wait_until("both are told", lambda: posted("firing") and mailed(), seconds=60)
    assert posted("firing")[0]["process"] == "update_server"
    assert "killed by SIGKILL" in posted("firing")[0]["reason"]
    ask(machine, "start update_server")
    wait_until("that it is over is told", lambda: posted("resolved"), seconds=60)
    assert len(posted("firing")) == 1
    assert len([line for line in mailed() if "over:" not in line]) == 1


def test_logs_are_rotated_without_a_lost_line(machine: Machine) -> None:
    machine.sh(
        "curl -sf http://127.0.0.1:9421/ >/dev/null; logrotate --force /etc/logrotate.d/fastblog"
    )
    machine.sh("curl -sf 'http://127.0.0.1:9421/search?q=afterwards' >/dev/null")
    assert machine.sh("ls /var/log/fastblog/main_app.*.1; ls /var/log/fastblog/main_app.log")
    wait_until(
        "the new file is written",
        lambda: "afterwards" in machine.sh("cat /var/log/fastblog/main_app*.log"),
    )


def test_a_boot_waits_for_what_is_late_and_slow(machine: Machine) -> None:
    # It cannot start until something is there that comes a while after the boot.
    late = "while [ ! -e /run/late ]; do sleep 0.2; done; exec python3 -m fastblog_start ipc_server"
    site = {
        **_SITE,
        "processes": [*_SITE["processes"], {"name": "ipc_server", "command": ["sh", "-c", late]}],
    }
    machine.sh(f"echo '{json.dumps(site)}' > /etc/fastblog/site.json")
    machine.restart()
    receive(machine)
    wait_until("the supervisor answers", lambda: states(machine)["ipc_server"]["pid"], seconds=60)
    assert states(machine)["main_app"]["state"] == "STARTING"
    machine.sh("touch /run/late")
    wait_until("it serves", lambda: machine.sh("curl -sf http://127.0.0.1:9421/"), seconds=90)
    assert all(not status["restarts"] for status in states(machine).values())
