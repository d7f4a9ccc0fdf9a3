"""How packages are installed and removed here."""

import importlib.util


def removed(*names: str) -> str:
    """The command that removes packages."""
    return " ".join([_installer(), "uninstall", *names])


def installed(requirement: str) -> str:
    """The command that installs a requirement, over what is there."""
    return f'{_installer()} install --upgrade "{requirement}"'


def replaced_torch() -> str:
    """The command that installs a torch for the driver that is there, as far as the installer can tell."""
    return (
        "python -m pip install --force-reinstall torch"
        if _has_pip()
        else "uv pip install -U --torch-backend=auto torch"
    )


def project() -> str:
    """The command that installs the project, with all that it asks for."""
    return "python -m pip install -e ." if _has_pip() else "uv sync"


def _installer() -> str:
    return "python -m pip" if _has_pip() else "uv pip"


def _has_pip() -> bool:
    return importlib.util.find_spec("pip") is not None
