"""What npm and pip are configured for on this machine: registry, credentials, proxy, certificates.

npm's settings come from the environment (`npm_config_…`), else from the user's `.npmrc`, else from the global
`npmrc`, whether or not the npm client is installed. A folder's own `.npmrc` is not read: it would depend on
where a command is started.

Of pip's settings proxy and certificates count. Its index says nothing about npm's: Artifactory and Nexus hold
one repository a kind of package, under names that people choose, so no rule leads from one to the other.
"""

import base64
import configparser
import os
import re
import shutil
import sys
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import platformdirs

from gags.errors import ModelError

BUNDLES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
"""Variables that name files of certificates; OpenSSL itself looks at SSL_CERT_FILE and SSL_CERT_DIR."""

_ENVIRONMENT = re.compile(r"npm_config_", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{([^}?]+)(\??)\}")
_CREDENTIALS = re.compile(r"//(.+?)/?:(_authToken|_auth)")


@dataclass(frozen=True)
class NetworkSettings:
    """What npm and pip are configured for.

    Attributes:
        npm: npm's settings by name.
        pip: pip's settings of all its sections, by name.
    """

    npm: Mapping[str, str] = field(default_factory=dict)
    pip: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls) -> "NetworkSettings":
        """Those of this machine; files that cannot be read count as empty."""
        environment = _npm_environment()
        user = _npmrc(Path(environment.get("userconfig") or "~/.npmrc"))
        shared = _npmrc(_global_npmrc(user | environment))
        return cls(shared | user | environment, _pip_settings())

    def registry(self, package: str) -> str:
        """Address of the registry that holds a package, without credentials and without a slash at its end.

        Args:
            package: "name" or "@scope/name".

        Raises:
            ModelError: If it is set to something that is no address.
        """
        scope, slash, _ = package.partition("/")
        chosen = (self.npm.get(f"{scope}:registry") if slash else None) or self.npm.get("registry")
        address = without_credentials((chosen or default_registry()).rstrip("/"))
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ModelError(
                f"npm's setting `registry` is {address!r}, which is no http(s) address; "
                "see ~/.npmrc and npm_config_registry"
            )
        return address

    def authorization(self, url: str) -> str:
        """Header that a request to an address needs, or an empty text.

        Credentials belong to a host, a port and a path ("//host:port/path/:_authToken"); no other address
        gets them. The longest path that fits counts.
        """
        parts = urlsplit(url)
        place = f"{_host(parts.netloc)}{parts.path}/"
        best, header = "", ""
        for name, value in self.npm.items():
            found = _CREDENTIALS.fullmatch(name)
            if found is None or not value:
                continue
            host, slash, path = found[1].partition("/")
            owner = f"{host.lower()}{slash}{path}/"
            if place.startswith(owner) and len(owner) > len(best):
                best, header = owner, f"{'Bearer' if found[2] == '_authToken' else 'Basic'} {value}"
        registry = urlsplit(self.npm.get("registry", ""))
        if not header and registry.username and _host(registry.netloc) == _host(parts.netloc):
            pair = f"{unquote(registry.username)}:{unquote(registry.password or '')}"
            header = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return header

    def proxies(self, url: str) -> dict[str, str]:
        """Proxy of each scheme for requests to an address: npm's, else pip's, else the environment's."""
        host = urlsplit(url).hostname or ""
        spared = re.split(r"[,\s]+", self.npm.get("noproxy", ""))
        if any(name and f".{host}".endswith(f".{name.lstrip('*.')}") for name in spared):
            return {}
        proxies = urllib.request.getproxies()
        everywhere = self.npm.get("proxy") or os.environ.get("PIP_PROXY") or self.pip.get("proxy")
        if everywhere and everywhere not in ("null", "false"):
            proxies |= {"http": everywhere, "https": everywhere}
        secure = self.npm.get("https-proxy")
        if secure and secure not in ("null", "false"):
            proxies["https"] = secure
        return proxies

    def certificates(self) -> list[Path]:
        """Files and folders of certificates to trust besides the system's."""
        named = [self.npm.get("cafile"), *(os.environ.get(name) for name in BUNDLES), self.pip.get("cert")]
        paths = [Path(name).expanduser() for name in dict.fromkeys(named) if name]
        return [path for path in paths if path.exists()]


def default_registry() -> str:
    """The registry that npm itself asks unless told otherwise, as package URLs (purl) resolve to it."""
    from packageurl.contrib.purl2url import get_download_url

    return str(get_download_url("pkg:npm/npm@1.0.0")).removesuffix("/npm/-/npm-1.0.0.tgz")


def without_credentials(url: str) -> str:
    """An address without the user and the password that it may hold."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _host(netloc: str) -> str:
    """Host and port, in lower case."""
    return netloc.rpartition("@")[2].lower()


def _npm_environment() -> dict[str, str]:
    """Settings of the environment, under the names that they have in an npmrc."""
    found = {}
    for name, value in os.environ.items():
        if _ENVIRONMENT.match(name) and value:
            key = name[len("npm_config_") :]
            found[key if key.startswith(("/", "@")) else key.replace("_", "-").lower()] = value
    return found


def _npmrc(path: Path) -> dict[str, str]:
    """Settings of an npmrc: `name = value`, comments after ; and #, `${VARIABLE}` from the environment."""
    found = {}
    with suppress(OSError):
        for line in path.expanduser().read_text(encoding="utf-8", errors="replace").splitlines():
            name, equals, value = line.partition("=")
            if equals and not name.lstrip().startswith((";", "#", "[")):
                found[_filled(name)] = _filled(value)
    return found


def _filled(text: str) -> str:
    """A name or value without quotes and comment, with variables filled in; unset ones stay as they are."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    else:
        text = re.split(r"(?<!\\)[;#]", text)[0].strip()
    return _VARIABLE.sub(lambda found: os.environ.get(found[1], "" if found[2] else found[0]), text)


def _global_npmrc(settings: Mapping[str, str]) -> Path:
    """The npmrc of all users: where npm is told, else beside Node.js, else where systems keep it."""
    if settings.get("globalconfig"):
        return Path(settings["globalconfig"])
    if settings.get("prefix"):
        return Path(settings["prefix"], "etc", "npmrc")
    candidates = [Path("/usr/local/etc/npmrc"), Path("/usr/etc/npmrc"), Path("/etc/npmrc")]
    if node := shutil.which("node"):
        candidates.insert(0, Path(node).resolve().parents[1] / "etc" / "npmrc")
    if sys.platform == "win32":
        candidates = [Path(os.environ.get("APPDATA", "~"), "npm", "etc", "npmrc")]
    return next((path for path in candidates if path.is_file()), candidates[0])


def _pip_settings() -> dict[str, str]:
    """pip's settings from the files that pip reads, the strongest last."""
    name = "pip.ini" if sys.platform == "win32" else "pip.conf"
    shared = platformdirs.site_config_dir("pip", appauthor=False, multipath=True).split(os.pathsep)
    paths = [Path(folder) for folder in ("/etc", *reversed(shared), "~/.pip")]
    paths += [platformdirs.user_config_path("pip", appauthor=False, roaming=True), Path(sys.prefix)]
    paths = [path / name for path in paths]
    if chosen := os.environ.get("PIP_CONFIG_FILE"):
        paths = [] if chosen == os.devnull else [*paths, Path(chosen)]
    found = {}
    for path in paths:
        parser = configparser.RawConfigParser()
        with suppress(configparser.Error, UnicodeDecodeError, OSError):
            parser.read(path.expanduser(), encoding="utf-8")
            for section in parser.sections():
                found |= parser[section]
    return found
