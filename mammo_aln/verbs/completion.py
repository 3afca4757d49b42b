"""Completion of verbs, flags and their choices in a shell, from the table of verbs and the functions' signatures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from mammo_aln.settings.flags import choices_of, flags_of
from mammo_aln.verbs.table import DEFAULT_ACTION, VERBS

ZSH = "autoload -Uz compinit bashcompinit && compinit && bashcompinit\n"
SCRIPT = """\
# Completion of mammo-aln: source <(mammo-aln completion {shell})
{start}_mammo_aln() {{
    local cur="${{COMP_WORDS[COMP_CWORD]}}" prev="${{COMP_WORDS[COMP_CWORD-1]}}" verb="${{COMP_WORDS[1]}}"
    local key="" lead="" words=""
    COMPREPLY=()
    case "$verb ${{COMP_WORDS[2]}}" in
{actions}
    esac
    # bash cuts words at =, zsh does not
    if [[ "$cur" == "=" ]]; then key="$prev" cur=""
    elif [[ "$prev" == "=" ]]; then key="${{COMP_WORDS[COMP_CWORD-2]}}"
    elif [[ "$cur" == --*=* ]]; then key="${{cur%%=*}}" lead="${{cur%%=*}}=" cur="${{cur#*=}}"
    elif [[ "$prev" == --* && "$cur" != -* ]]; then key="$prev"
    fi
    if [[ $COMP_CWORD -eq 1 ]]; then words="{verbs}"
    elif [[ -n "$key" ]]; then
        case "$key" in
{choices}
        esac
    else
        case "$verb" in
{flags}
        esac
    fi
    [[ -n "$words" ]] && COMPREPLY=($(compgen -P "$lead" -W "$words" -- "$cur"))
    # a flag waits for its value: no blank behind =
    [[ ${{#COMPREPLY[@]}} -eq 1 && "${{COMPREPLY[*]}}" == *= ]] && type compopt >/dev/null 2>&1 && compopt -o nospace
    return 0
}}
complete -o default -F _mammo_aln mammo-aln
"""


def completion_script(shell: Literal["bash", "zsh"]) -> str:
    """Write the script; where there is nothing to choose from, the shell completes file names."""
    from mammo_aln import verbs

    flags = {verb: flags_of(getattr(verbs, function)) for verb, (function, _, _) in VERBS.items()}
    actions: dict[str, list[str]] = {}
    for verb in VERBS:
        name, _, action = verb.partition(" ")
        actions.setdefault(name, []).extend([action] if action else [])
    words = {verb: " ".join([*(f"--{flag}=" for flag in flags[verb]), "--config=", "--help"]) for verb in VERBS}
    for name, several in actions.items():
        if several:
            words[name] = " ".join([*several, *words.get(f"{name} {DEFAULT_ACTION.get(name)}", "").split()])
    choices: dict[str, str] = {}
    for types in flags.values():
        for flag, hint in types.items():
            known = choices.get(f"--{flag}", "").split()
            if listed := dict.fromkeys([*known, *choices_of(hint)]):
                choices[f"--{flag}"] = " ".join(listed)
    return SCRIPT.format(
        shell=shell,
        start=ZSH if shell == "zsh" else "",
        verbs=" ".join(actions),
        actions="\n".join(f'        "{verb}") verb="{verb}" ;;' for verb in VERBS if " " in verb),
        choices=_cases(choices, 12),
        flags=_cases(words, 8 + 4),
    ).rstrip("\n")


def _cases(words: Mapping[str, str], indent: int) -> str:
    return "\n".join(f'{" " * indent}"{name}") words="{text}" ;;' for name, text in words.items())
