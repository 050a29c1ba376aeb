"""How somebody gets a package that an optional part needs. Pure."""


def get(extra: str) -> str:
    """The command for one of the project's extras: no index has the project itself."""
    return f"uv pip install -e '.[{extra}]' in the project's directory"
