"""Completion of commands, options and names of processes for bash, and for zsh by its emulation."""

from __future__ import annotations

import re

from process_supervisor.control.client import Client, ControlError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

NAMED = ("status", "start", "stop", "restart", "logs", "pid", "signal", "history")
# Whatever answers at the socket: a shell shall see nothing that it could take for more than a word.
WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}:?")
# zsh's own emulation of what bash has for this.
ZSH = """(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
autoload -Uz bashcompinit && bashcompinit
"""
BASH = r"""_process_supervisor() {
    local current=${COMP_WORDS[COMP_CWORD]} command='' offers='' newline=$'\n' word at
    local -a socket=()
    for ((at = 1; at < COMP_CWORD; at++)); do
        case ${COMP_WORDS[at]} in
            -s | --socket) socket=(--socket "${COMP_WORDS[at + 1]}"); ((at++)) ;;
            -*) ;;
            *) command=${COMP_WORDS[at]}; break ;;
        esac
    done
    COMPREPLY=()
    case ${COMP_WORDS[COMP_CWORD - 1]} in
        -s | --socket | -c | --config | --password-file)
            while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$current")
            return ;;
    esac
    case $command:$current in
        :*) offers='@COMMANDS@ -s --socket -h --help' ;;
@OPTIONS@
    esac
    case $command in
        @NAMED@)
            [[ $current == -* ]] ||
                offers=$("${COMP_WORDS[0]}" "${socket[@]}" completion names 2> /dev/null) ;;
        completion) offers='bash zsh' ;;
    esac
    while IFS= read -r word; do
        [[ -n $word && $word == "$current"* ]] && COMPREPLY+=("$word")
    done <<< "${offers// /$newline}"
    return 0
}
complete -F _process_supervisor process_supervisor
"""


def script(commands: dict[str, argparse.ArgumentParser], shell: str = "bash") -> str:
    """Return what a shell is to evaluate."""
    options = "\n".join(
        f"        {name}:-*) offers='{' '.join(command._option_string_actions)}' ;;"
        for name, command in commands.items()
    )
    text = (ZSH if shell == "zsh" else "") + BASH
    text = text.replace("@COMMANDS@", " ".join(commands)).replace("@OPTIONS@", options)
    return text.replace("@NAMED@", " | ".join(NAMED))


def names(client: Client) -> list[str]:
    """Return the processes and groups that there are, none where no supervisor answers."""
    try:
        found = client.status(usage=False)
    except ControlError:
        return []
    groups = {f"{item['group']}:" for item in found if item.get("group")}
    known = [*(str(item["name"]) for item in found), *sorted(groups)]
    return [name for name in known if WORD.fullmatch(name)]
