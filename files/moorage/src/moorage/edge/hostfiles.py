"""The files that the edge has on a host outside its own directory, as text."""

from __future__ import annotations

from moorage.deploy.unit import DEFAULT_PIDS
from moorage.edge.model import Settings
from moorage.edge.store import Store
from moorage.edge.tls import ACME_UNIT

UNIT_FILE = "/etc/systemd/system/moorage-edge.service"
SYSCTL_FILE = "/etc/sysctl.d/60-moorage-edge.conf"
ACME_TIMER = ACME_UNIT.replace(".service", ".timer")
_WRITTEN = "# Written by Moorage; changes by hand are lost."

_TMPFILES = """\
{written}
# /run is empty after a boot. Whoever reaches the control socket decides where visitors go.
d {parent} 0755 root root -
d {run} 0700 root root -
"""

_SYSCTL = """\
{written}
# A stack may be published at an address that comes and goes. nginx does not start without one that
# it cannot bind, and would be away for all stacks: so it listens before the address is there.
net.ipv4.ip_nonlocal_bind = 1
-net.ipv6.ip_nonlocal_bind = 1
"""

_LOGROTATE = """\
{written}
{log}/access.json {log}/error.log {{
    su root root
    daily
    maxsize 100M
    rotate 14
    missingok
    notifempty
    compress
    delaycompress
    dateext
    dateformat -%Y%m%d-%s
    create 0640 www-data adm
    sharedscripts
    postrotate
        /usr/local/bin/moorage edge reopen
    endscript
}}
"""

_UNIT = """\
{written}
[Unit]
Description=nginx in front of the stacks of this host
Wants=network-online.target
After=network-online.target nss-lookup.target
StartLimitIntervalSec=0

[Service]
Type=exec
# A killed nginx leaves its socket behind and cannot bind to it then.
ExecStartPre=/usr/bin/rm -f {socket}
ExecStart=/usr/sbin/nginx -e stderr -c {conf}/nginx.conf -g 'daemon off;'
ExecReload=/usr/bin/kill -HUP $MAINPID
# Requests that are under way come to their end.
KillSignal=SIGQUIT
KillMode=mixed
TimeoutStopSec=30
Restart=always
RestartSec=1
LimitNOFILE=16384
CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_SETUID CAP_SETGID CAP_KILL CAP_CHOWN CAP_DAC_OVERRIDE
NoNewPrivileges=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectHome=yes
ProtectSystem=strict
ReadWritePaths={run} {log} {cache}

[Install]
WantedBy=multi-user.target
"""

# A file of its own: a unit that is another one is started anew, and visitors would feel it.
_LIMITS = """\
{written}
[Service]
TasksMax={pids}
"""

_ACME_SERVICE = """\
{written}
[Unit]
Description=Certificates of the edge: fetch what is missing, renew what is due
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
ExecStart=/usr/local/bin/moorage edge certificates
TasksMax={pids}
"""

_ACME_TIMER = """\
{written}
[Unit]
Description=Looks after the certificates of the edge twice a day

[Timer]
OnCalendar=*-*-* 00,12:00:00
RandomizedDelaySec=6h
Persistent=yes

[Install]
WantedBy=timers.target
"""


def host_files(settings: Settings, store: Store) -> dict[str, str | None]:
    """Return each file's content by its path; None for one that must not be there."""
    values = {
        "written": _WRITTEN,
        "run": store.run,
        "parent": store.run.parent,
        "socket": store.socket,
        "conf": store.conf,
        "log": settings.log_dir,
        "cache": settings.cache_dir,
        "pids": DEFAULT_PIDS,
    }
    there = settings.kind != "none"
    acme = there and settings.tls == "acme"
    wanted = {
        "/etc/tmpfiles.d/moorage-edge.conf": (_TMPFILES, there),
        SYSCTL_FILE: (_SYSCTL, there),
        "/etc/logrotate.d/moorage-edge": (_LOGROTATE, there),
        UNIT_FILE: (_UNIT, settings.kind == "native"),
        f"{UNIT_FILE}.d/limits.conf": (_LIMITS, settings.kind == "native"),
        f"/etc/systemd/system/{ACME_UNIT}": (_ACME_SERVICE, acme),
        f"/etc/systemd/system/{ACME_TIMER}": (_ACME_TIMER, acme),
    }
    return {path: text.format(**values) if on else None for path, (text, on) in wanted.items()}
