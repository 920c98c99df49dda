"""What a person has written into `environment` is read by root and the process alone."""

from __future__ import annotations

from support import Machine

# Of a variable of harbour's, as files, units and command lines would have it.
_WRITTEN = 'HARBOUR_SCHEMA(=|": *")'
_SOMEBODY = "setpriv --reuid 4242 --regid 4242 --clear-groups"


def test_nobody_else_reads_the_environment(settled: Machine) -> None:
    places = "/opt/*/releases /opt/*/instances /opt/*/processes /opt/*/config /etc /run /var/log"
    # Root finds it, so it would have been found.
    found = settled.host.run(f"grep -rslE '{_WRITTEN}' {places}")
    assert "/opt/harbour/processes/" in found.stdout
    found = settled.host.run(f"{_SOMEBODY} grep -rslE '{_WRITTEN}' {places}")
    assert found.stdout == ""
    # What systemd tells root of units it tells everybody, by way of D-Bus.
    shown = settled.sh("systemctl show '*'")
    assert "Description=" in shown and "HARBOUR_SCHEMA" not in shown


def test_nobody_else_sees_it_in_a_command_beside_the_process(settled: Machine) -> None:
    look = f"{_SOMEBODY} sh -c 'cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null'"
    shown = settled.sh(
        "moorage exec harbour web python3 -c 'import os, time; "
        'print(os.environ["HARBOUR_SCHEMA"], flush=True); time.sleep(60)\' >/tmp/said & '
        "while ! grep -qs . /tmp/said; do sleep 0.1; done; "
        f"{look} | tr '\\0' ' '; kill $!"
    )
    assert "time.sleep(60)" in shown and "HARBOUR_SCHEMA=" not in shown
