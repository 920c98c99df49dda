"""The systemd unit that runs a stack's gateway, and the directory that holds its socket."""

from __future__ import annotations

from moorage.render.rendering import DirectoryFact, RenderedFile

USER = "moorage-gateway"
# In step with `host_users` of the role host.
USER_ID = 10003
UNIT_DIR = "/etc/systemd/system"
# Where the role runtime unpacks Moorage's packages on a host.
LIBRARY = "/usr/local/lib/moorage"

_UNIT = """\
# Written by Moorage; changes made here are lost at the next deploy.
# The group {group} may connect; the socket gets it when the gateway starts.
[Unit]
Description=Control gateway of the stack {stack}
# Only after, not with: it says that the engine is down rather than going down as well.
After=docker.socket docker.service
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart=/usr/bin/python3 -P -m moorage.gateway --stack {stack} \\
  --audit /var/log/moorage/gateway/{stack}/audit.jsonl
Environment=PYTHONPATH={library} PYTHONDONTWRITEBYTECODE=1 MALLOC_ARENA_MAX=2
Restart=always
RestartSec=1
TimeoutStopSec=15

# Who holds the engine's socket can become root by it. So: this process alone, a user of its own,
# nothing but that group, and as little else as there can be.
User={user}
Group={user}
SupplementaryGroups=docker
UMask=0077
StateDirectory=moorage-gateway/{stack}
StateDirectoryMode=0700
LogsDirectory=moorage/gateway/{stack}
LogsDirectoryMode=0750
CapabilityBoundingSet=
AmbientCapabilities=
NoNewPrivileges=yes

ProtectSystem=strict
ReadWritePaths={run_dir}/gateway
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
# Secrets and data are for the services.
InaccessiblePaths=-/opt/{stack}/secrets -/opt/{stack}/data -/opt/{stack}/backups

# Neither an address nor an interface: Unix sockets are files, and go on working.
PrivateNetwork=yes
RestrictAddressFamilies=AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources @keyring @memlock @setuid @ipc
SystemCallErrorNumber=EPERM

# A thousand callers take about 25 MB.
MemoryHigh=64M
MemoryMax=96M
MemorySwapMax=0
TasksMax=80
LimitNOFILE=4096
LimitCORE=0

[Install]
WantedBy=multi-user.target
"""


_ROTATION = """\
# Written by Moorage. The gateway opens its audit log anew by itself once it was renamed.
/var/log/moorage/gateway/{stack}/*.jsonl {{
    daily
    rotate 30
    compress
    delaycompress
    missingok
    notifempty
    # The directory belongs to the gateway's user, who must not make root write elsewhere.
    su {user} {user}
    nocreate
}}
"""


def gateway_rotation(stack: str) -> RenderedFile:
    """What keeps the gateway's audit log for thirty days."""
    content = _ROTATION.format(stack=stack, user=USER)
    return RenderedFile(content, install_as=f"/etc/logrotate.d/moorage-gateway-{stack}")


def unit_name(stack: str) -> str:
    """The name of a stack's gateway unit."""
    return f"moorage-gateway-{stack}.service"


def gateway_unit(stack: str, *, run_dir: str, library: str, group: int) -> RenderedFile:
    """The unit; `library` is where the host has Moorage's Python packages."""
    content = _UNIT.format(stack=stack, user=USER, run_dir=run_dir, library=library, group=group)
    return RenderedFile(content, install_as=f"{UNIT_DIR}/{unit_name(stack)}")


def socket_directory(run_dir: str, group: int) -> DirectoryFact:
    """The directory of the gateway's socket, which this group may connect to.

    Set-group-id: the socket gets the group without the gateway's being a member of it.
    """
    return DirectoryFact(f"{run_dir}/gateway", USER_ID, group, "2750")
