"""Every shell command of the README, from nothing to the first delivered event and to the end, on a fresh Debian.

    python tests/fresh/drive.py FOLDER bookworm trixie

FOLDER keeps what debootstrap has fetched. As root; tests/fresh.sh installs what this needs.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from root import Failed, Root, running
from terminal import STATEMENT, Terminal

CHECKOUT = Path(__file__).parents[2]
SOURCE, COLLEGE = "/root/relay", "/root/college.py"
PORT = 18087
#: What the machine of a Moodle has, and what looks at it here.
PACKAGES = "mariadb-server man-db bash-completion procps curl git sqlite3 ca-certificates openssl"
#: How long is waited for something that relay does by itself, in seconds.
PATIENCE_S = 60.0
#: Makes a Moodle, or lets somebody sign up: `college.py build`, `college.py NAME`.
COLLEGE_SCRIPT = """\
import sys, time, pymysql
from relay.demo.moodle import College
connection = pymysql.connect(unix_socket="/run/mysqld/mysqld.sock", user="root", autocommit=True)
name = sys.argv[2] if len(sys.argv) > 2 else "moodle"
if sys.argv[1] == "build":
    connection.cursor().execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
connection.select_db(name)
college = College(connection)
college.build() if sys.argv[1] == "build" else college.sign_up(sys.argv[1], "Example", int(time.time()))
"""
#: What `relay init` is asked to do without a terminal.
OPTIONS = f"""--moodle-url https://moodle.college.edu --database-host /run/mysqld/mysqld.sock --database-name moodle \
--backend-url http://127.0.0.1:{PORT} --backend-token-file /root/token"""


class Readme:
    """The commands of the READMEs' shell blocks; each has to be run."""

    def __init__(self) -> None:
        english, arabic = ((CHECKOUT / name).read_text() for name in ("README.md", "README.ar.md"))
        self.blocks: list[str] = re.findall(r"```sh\n(.*?)```", english, re.DOTALL)
        self.left = {line for text in (english, arabic) for line in _lines(text)}

    def block(self, beginning: str) -> str:
        """Return the block that has a line which begins so; its lines count as run."""
        (found,) = [block for block in self.blocks if any(line.startswith(beginning) for line in block.splitlines())]
        self.left -= set(found.splitlines())
        return found

    def line(self, beginning: str) -> str:
        """Return the line that begins so; it counts as run."""
        found = {line for line in [*"".join(self.blocks).splitlines(), *self.left] if line.startswith(beginning)}
        if len(found) != 1:
            raise Failed(f"the README has {len(found)} lines that begin with {beginning!r}")
        self.left -= found
        return found.pop()


def _lines(text: str) -> set[str]:
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return {*re.findall(r"^    (tests/\w+\.sh)$", text, re.MULTILINE), *"".join(blocks).splitlines()}


def main(cache: Path, suites: list[str]) -> None:
    """Try each Debian. Raises Failed."""
    for suite in suites:
        print(f"== Debian {suite}", flush=True)
        started = time.monotonic()
        with running(suite, cache) as root:
            Trial(root, Readme()).run()
        print(f"== Debian {suite}: all well, in {time.monotonic() - started:.0f} s", flush=True)


class Trial:
    """One Debian, from nothing to nothing."""

    def __init__(self, root: Root, readme: Readme) -> None:
        self.root, self.readme = root, readme

    def run(self) -> None:
        """Run all of it."""
        for step in (
            self.set_up,
            self.install,
            self.first_event,
            self.reload,
            self.secrets,
            self.by_hand,
            self.sites,
            self.page,
            self.restore,
            self.failure,
            self.receivers,
            self.upgrade,
            self.uninstall,
            self.older,
            self.pipx,
        ):
            print(f"-- {step.__name__.replace('_', ' ')}", flush=True)
            step()
        if self.readme.left:
            raise Failed("nothing runs these lines of the README:\n" + "\n".join(sorted(self.readme.left)))

    # -- what the steps share

    def expect(self, text: str, *words: str) -> None:
        """Raise Failed where a text lacks words."""
        for one in words:
            if one not in text:
                raise Failed(f"{one!r} is not in:\n{text}")

    def wait(self, script: str, wanted: str) -> None:
        """Wait until a script prints words."""
        ends_at = time.monotonic() + PATIENCE_S
        while wanted not in (said := self.root.run(script, expect=None, is_shown=False)):
            if time.monotonic() > ends_at:
                raise Failed(f"{script}\ndoes not say {wanted!r}:\n{said}\n{self._journal()}")
            time.sleep(0.3)

    def _journal(self) -> str:
        return self.root.run("journalctl --no-pager -n 30", expect=None, is_shown=False)

    def sign_up(self, name: str, database: str = "moodle") -> None:
        self.root.run(f"/opt/relay/bin/python {COLLEGE} {name} {database}")

    def backend(self, log: str = "/root/received.log") -> None:
        """Start a backend that verifies and takes what comes."""
        self.no_backend()
        keys = "--secret-file /etc/relay/signing-key --token-file /root/token"
        receive = f"exec /root/backend/bin/relay receive --port {PORT} {keys} --json >>{log} 2>&1"
        self.root.run(f"systemd-run --quiet --collect --unit=backend /bin/sh -c '{receive}'")
        self.wait(f"cat {log}", "Receiving at")

    def no_backend(self) -> None:
        self.root.run("systemctl stop backend 2>&1; rm -f /root/received.log", expect=None, is_shown=False)

    def delivered(self, count: int, config: str = "/etc/relay/config.yaml") -> None:
        """Wait until so many events are delivered, and no other ones wait; the sums hold."""
        question = "import json, sys; s = json.load(sys.stdin); print(s['conservation'], 'DONE', "
        question += "s['conservation']['success'], s['undelivered'], s['conservation']['holds'])"
        self.wait(f'relay --config {config} status --json | python3 -c "{question}"', f"DONE {count} 0 True")

    def nothing_is_left(self) -> None:
        """Raise Failed where the files are not those from before relay was installed."""
        now = self.root.files()
        if now != self.before:
            raise Failed(f"left: {sorted(now - self.before)[:50]}, gone: {sorted(self.before - now)[:50]}")

    def is_whole(self, venv: str, checkout: str) -> None:
        """Raise Failed where the installed files are not those of a checkout: no module is lost, and none is stale."""
        listing = "find . -type f ! -name '*.pyc' | sort"
        self.root.run(f"cd {venv}/lib/python3*/site-packages/relay; {listing} >/root/installed")
        self.root.run(f"{listing} | diff /root/installed -", cwd=f"{checkout}/relay")

    # -- the steps

    def set_up(self) -> None:
        """The two commands, from nothing."""
        (self.root.folder / "root/relay").mkdir()
        copy = f"git ls-files -co --exclude-standard | tar -cf - -T - | tar -xf - -C {self.root.folder}/root/relay"
        subprocess.run(copy, shell=True, check=True, cwd=CHECKOUT)
        demo = self.readme.line("tests/demo.sh")
        self.root.run("apt-get update -qq")
        shown = self.root.run(f"{demo} --seconds 5", cwd=SOURCE)
        self.expect(shown, "lost           0")
        # A few tests: all of them were run before this.
        self.expect(
            self.root.run(f"{self.readme.line('tests/run.sh')} tests/rules tests/test_docs.py", cwd=SOURCE), " passed"
        )
        self.root.run(f"rm -rf {SOURCE}/.venv")

    def install(self) -> None:
        lines = self.readme.block("python3 -m venv").splitlines()
        self.root.run(f"apt-get install -y -qq --no-install-recommends {PACKAGES} >/dev/null")
        self.root.run(
            "printf '[mysqld]\\nskip-networking\\n' >/etc/mysql/mariadb.conf.d/99-trial.cnf; systemctl restart mariadb"
        )
        self.root.run("\n".join(line for line in lines if line.startswith("apt-get")))
        # The backend is one more relay, of which nothing is installed.
        self.root.run("python3 -m venv /root/backend; /root/backend/bin/pip install -q /root/relay")
        self.before = self.root.files()
        self.root.run("\n".join(line for line in lines if not line.startswith(("apt-get", "relay init"))), cwd=SOURCE)
        self.expect(self.root.run("command -v relay; relay --version"), "/usr/local/bin/relay", "moodle-relay")
        self.expect(self.root.run("man relay | head -30"), "RELAY(1)")
        complete = "source /usr/share/bash-completion/bash_completion; _completion_loader relay; complete -p relay"
        self.expect(self.root.run(f"bash -c '{complete}'"), "-F _relay")
        self.expect(self.root.run("relay install"), "installed")
        self.root.run(
            "systemd-analyze verify relay.service relay@amman.service relay-web.socket relay-web@amman.socket"
        )
        rated = self.root.run(
            "systemd-analyze security --no-pager relay relay@amman relay-web relay-web@amman | grep Overall"
        )
        if any(float(rate) > 1.5 for rate in re.findall(r"service: ([0-9.]+)", rated)) or rated.count("Overall") != 4:
            raise Failed(rated)
        (self.root.folder / COLLEGE.lstrip("/")).write_text(COLLEGE_SCRIPT)
        self.root.run(f"/opt/relay/bin/python {COLLEGE} build; openssl rand -hex 32 >/root/token")

    def first_event(self) -> None:
        (init,) = [line for line in self.readme.block("python3 -m venv").splitlines() if line == "relay init"]
        # Without a terminal the options answer; the SQL is for the database's administrator.
        self.root.run(f"{init} {OPTIONS} >grants.sql", expect=1)
        self.root.run("mariadb <grants.sql")
        self.backend()
        said = self.root.run(init)
        self.expect(said, "All is well", "systemctl enable --now relay")
        self.sign_up("Ada")
        look, enable, journal = self.readme.block(
            "runuser -u relay -- relay --config /etc/relay/config.yaml run"
        ).split("\n")[:3]
        shown = self.root.run(look)
        self.expect(shown, '"event_type": "user_created"', "Ada")
        self.root.run(enable)
        self.expect(self.root.run(f"timeout 2 {journal}", expect=124), "relay.started")
        self.sign_up("Grace")
        self.delivered(1)
        self.expect(self.root.run("cat /root/received.log"), "Grace")
        self.expect(self.root.run("relay status; systemctl status --no-pager relay"), "Delivering to")
        # What the unit lets through: threads may be kept on a core, and nothing else of that group is allowed.
        self.root.run(self.filtered("os.sched_setaffinity(0, os.sched_getaffinity(0))"))
        self.expect(self.root.run(self.filtered("os.setpriority(0, 0, 5)"), expect=1), "PermissionError")

    def filtered(self, what: str) -> str:
        """Return the command of a process that does something in Python under the service's filter of system calls."""
        limits = '-p "$(systemctl show -p SystemCallFilter relay)" -p SystemCallErrorNumber=EPERM -p User=relay'
        return f"systemd-run --quiet --wait --pipe {limits} /opt/relay/bin/python -c 'import os; {what}'"

    def reload(self) -> None:
        self.root.run(self.readme.block("systemctl reload relay"))
        self.root.run("cp -a /etc/relay/config.yaml keep; echo 'enable: false' >>/etc/relay/config.yaml")
        self.root.run("systemctl reload relay", expect=1)
        self.expect(self.root.run("relay reload", expect=1), "the old config goes on", "enable: ")
        self.expect(self.root.run("journalctl -u relay --no-pager"), "config.rejected", "relay: refused")
        self.root.run("cp -a keep /etc/relay/config.yaml; systemctl reload relay; systemctl is-active relay")

    def secrets(self) -> None:
        """What only systemd has, what root has sealed, and what relay has sealed."""
        self.root.run("systemctl stop relay; cp -a /etc/relay keep-etc")
        self.root.run("chown root: /etc/relay/backend-token; chmod 600 /etc/relay/backend-token")
        self.root.run("sed -i 's|{file: .*backend-token}|{credential: backend-token}|' /etc/relay/config.yaml")
        self.hand_over("backend-token")
        self.expect(self.root.run("relay check", expect=2), "relay-service check")
        check = self.readme.line("relay-service check")
        self.expect(self.root.run(check), "ok    backend")
        self.expect(self.root.run("relay-service status", expect=None), "no relay runs")
        self.root.run("systemctl start relay")
        # While it runs, its credentials are found.
        self.expect(self.root.run("relay check"), "ok    backend")
        self.sign_up("Edsger")
        self.delivered(2)
        token = self.root.run("cat /root/token", is_shown=False)
        for who in ("", "runuser -u relay -- "):
            self.root.run("systemctl stop relay")
            sealed = self.root.run(f"{who}relay --config /etc/relay/config.yaml seal", given=token).strip()
            self.root.run(f"sed -i 's|^  token: .*|  token: {sealed}|' /etc/relay/config.yaml", is_shown=False)
            self.hand_over("")
            for asks in ("", "runuser -u relay -- "):
                self.expect(self.root.run(f"{asks}relay --config /etc/relay/config.yaml check"), "ok    backend")
            self.root.run("systemctl start relay; systemctl is-active relay")
        # The key can be a file of root alone, too.
        self.root.run("systemctl stop relay; chown root: /etc/relay/seal.key; chmod 600 /etc/relay/seal.key")
        self.hand_over("relay-seal-key", "seal.key")
        self.root.run("relay-service check; systemctl start relay")
        self.sign_up("Barbara")
        self.delivered(3)
        self.hand_over("")
        self.root.run("systemctl stop relay; rm -rf /etc/relay; mv keep-etc /etc/relay; systemctl start relay")

    def hand_over(self, name: str, file: str = "") -> None:
        """Let systemd give one credential to the service, as `systemctl edit` does, or none."""
        self.root.run("rm -rf /etc/systemd/system/relay.service.d; mkdir /etc/systemd/system/relay.service.d")
        line = f"LoadCredential={name}:/etc/relay/{file or name}" if name else ""
        override = "/etc/systemd/system/relay.service.d/override.conf"
        self.root.run(f"printf '[Service]\\n{line}\\n' >{override}; systemctl daemon-reload")

    def by_hand(self) -> None:
        block = self.readme.block("install -m 640 -o root -g relay /usr/local/share")
        self.root.run("systemctl stop relay; cp -a /etc/relay keep-etc; rm -rf /etc/relay/*")
        *steps, check = block.strip().splitlines()
        self.expect(self.root.run("\n".join(steps)), "GRANT SELECT")
        self.expect(
            self.root.run("stat -c '%a %U %G' /etc/relay/signing-key; cat /etc/relay/signing-key"),
            "640 root relay",
            "whsec_",
        )
        # Nothing was mended, and the token is empty.
        self.expect(self.root.run(check, expect=2), "backend.token")
        self.root.run("rm -rf /etc/relay; mv keep-etc /etc/relay; systemctl start relay")

    def sites(self) -> None:
        """A second Moodle, with a relay of its own."""
        init, enable, status, check = (
            self.readme.block("relay --config /etc/relay/amman/config.yaml init").strip().splitlines()
        )
        self.root.run(f"/opt/relay/bin/python {COLLEGE} build amman")
        token, key = (self.root.run(f"cat {file}").strip() for file in ("/root/token", "/etc/relay/signing-key"))
        print(f"   {init}, each answer typed", flush=True)
        with Terminal(self.root.command(init)) as person:
            person.answer("own address", "https://amman.college.edu")
            person.answer("database server", "/run/mysqld/mysqld.sock")
            person.answer("database's name", "amman")
            person.answer("[mdl_]")
            person.answer("[relay]", "amman")
            person.answer("user's password (Enter: a new one)")
            sql = STATEMENT.findall(person.until("then press Enter: "))
            self.root.run("mariadb <<'SQL'\n" + "\n".join(sql) + "\nSQL", is_shown=False)
            person.enter()
            person.answer("backend's address", f"http://127.0.0.1:{PORT}")
            person.answer("the CA")
            person.answer("[default]")
            person.answer("token", token)
            person.answer("signing key", key)
            person.answer("Where events are kept")
            if person.end():
                raise Failed(person.shown)
        self.expect(person.shown, "All is well", "systemctl enable --now relay@amman")
        if token in person.shown or key in person.shown:
            raise Failed("a secret that was typed is shown")
        self.root.run(enable)
        self.sign_up("Rana", "amman")
        self.delivered(1, "/etc/relay/amman/config.yaml")
        self.delivered(3)
        self.expect(self.root.run(status), "undelivered  0")
        self.expect(self.root.run(check), "ok    backend")
        self.root.run("relay --config /etc/relay/amman/config.yaml reload; systemctl reload relay@amman")
        self.expect(
            self.root.run("stat -c '%U %a' /var/lib/relay/amman/outbox.db /var/lib/relay/amman"),
            "relay 600",
            "relay 750",
        )

    def page(self) -> None:
        self.root.run(self.readme.block("/opt/relay/bin/pip install '.[progress,web]'"), cwd=SOURCE)
        self.root.run("systemctl start relay-web@amman.socket")
        for name in ("web", "amman"):
            socket = f"/run/relay-web/{name}.sock"
            self.expect(self.root.run(f"curl -sS --unix-socket {socket} http://localhost/"), "<html")
            asked = f"curl -sS -o /dev/null -w '%{{http_code}}' --unix-socket {socket} http://localhost/"
            self.expect(self.root.run(f"runuser -u nobody -- {asked}"), "403")

    def restore(self) -> None:
        """What was delivered since the backup comes again, with the same ids; what happened meanwhile comes once."""
        self.root.run(self.readme.block("apt-get install -y sqlite3"))
        self.sign_up("Donald")
        self.delivered(4)
        self.root.run("systemctl stop relay")
        self.sign_up("Leslie")
        self.root.run("rm -rf /etc/relay/config.yaml /var/lib/relay/outbox.db; echo lost >/var/lib/relay/outbox.db")
        self.root.run(self.readme.block("cp -a /var/backups/relay-etc/."))
        self.delivered(5)
        received = self.root.run("cat /root/received.log")
        seen = {name: received.count(name) for name in ("Grace", "Edsger", "Barbara", "Donald", "Leslie")}
        if seen["Donald"] < 2 or "duplicate" not in received:
            raise Failed(f"{seen}\n{received}")
        self.root.run("relay reconcile users", expect=None)

    def failure(self) -> None:
        """A wrong config ends relay for good, and a person is told."""
        self.root.run(
            "printf '#!/bin/sh\\ncat >/root/mail-to-$3\\n' >/usr/local/bin/mail; chmod 755 /usr/local/bin/mail"
        )
        self.root.run(
            "cp -a /etc/relay/config.yaml keep; echo 'enable: false' >>/etc/relay/config.yaml; systemctl restart relay",
            expect=None,
        )
        self.wait("journalctl -p alert --no-pager -t relay-failed", "relay.service on")
        self.wait("cat /root/mail-to-*", "enable: ")
        self.root.run(
            "cp -a keep /etc/relay/config.yaml; systemctl reset-failed; systemctl restart relay; rm /usr/local/bin/mail"
        )

    def receivers(self) -> None:
        """What the section for those who receive says."""
        keygen, receive, send = self.readme.block("relay keygen --out signing-key").strip().splitlines()
        self.root.run(f"mkdir -p /root/receiver; cd /root/receiver; {keygen}\n({receive} >receive.log 2>&1 & )")
        self.wait("cat /root/receiver/receive.log", "Receiving at")
        self.root.run(f"cd /root/receiver; {send}\npkill -f '[r]elay receive --secret-file'")
        verifier, schema, token, run, sheet = self.readme.block("relay receive --print python").strip().splitlines()
        receiver = re.search(r"```python\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)
        if receiver is None:
            raise Failed("the README has no receiver")
        (self.root.folder / "root/receiver/receiver.py").write_text(receiver[1])
        self.root.run(f"cd /root/receiver\n{verifier}\n{schema}\n{token}\n({run} >run.log 2>&1 & )\nsleep 1")
        self.root.run(f"cd /root/receiver; {sheet}\npkill -f '[p]ython3 receiver.py'")

    def upgrade(self) -> None:
        """The same commands again."""
        clone = self.root.folder / "root/upstream.git"
        subprocess.run(["git", "clone", "--quiet", "--bare", "--no-local", str(CHECKOUT), str(clone)], check=True)
        self.root.run("git config --global --add safe.directory '*'; git clone -q /root/upstream.git /root/clone")
        pull, *rest = self.readme.block("git pull").strip().splitlines()
        self.root.run("\n".join([pull, *rest]), cwd="/root/clone")
        self.delivered(5)

    def uninstall(self) -> None:
        self.no_backend()
        self.root.run("cp -a /etc/relay keep-old; rm -rf keep-old/amman")
        self.root.run(self.readme.block("relay uninstall --data"))
        self.nothing_is_left()
        self.root.run("id relay", expect=1)

    def older(self) -> None:
        """From a day-old relay, with its outbox of version 1 and events that wait, to this one."""
        if not self._has(OLD):
            print(f"   skipped: {OLD} is not in this repository's history")
            return
        self.root.run(f"git reset -q --hard {OLD}{OLD_INSTALL}", cwd="/root/clone")
        self.root.run("cp -a keep-old/. /etc/relay/; cp clone/systemd/relay.service /etc/systemd/system/")
        self.root.run("cat >/etc/relay/config.yaml", given=OLD_CONFIG)
        self.backend(log="/root/older.log")
        self.root.run("systemctl daemon-reload; systemctl enable --now relay")
        self.sign_up("Before")
        self.wait("cat /root/older.log", "Before")
        self.no_backend()
        self.sign_up("Waiting")
        self.wait("relay=/opt/relay/bin/relay; $relay --config /etc/relay/config.yaml status", "failed")
        self.sign_up("Later")
        pull, upgrade, install, restart = self.readme.block("git pull").strip().splitlines()
        self.root.run("git branch -q --set-upstream-to=origin/$(git branch --show-current)", cwd="/root/clone")
        said = self.root.run(f"{pull}\n{upgrade}\n{install}", cwd="/root/clone")
        self.expect(said, "/etc/systemd/system/relay.service stays", "systemctl edit relay")
        self.root.run("rm /etc/systemd/system/relay.service; systemctl daemon-reload; systemctl enable -q relay")
        self.root.run(restart)
        self.backend(log="/root/older.log")
        self.delivered(3)
        self.expect(self.root.run("ls /var/lib/relay"), "outbox.db.v1-")
        self.expect(self.root.run("journalctl -u relay --no-pager"), "outbox.migrated")
        ids = re.findall(
            r'"path": "[^"]*", "event_id": "([^"]+)"', self.root.run("cat /root/older.log", is_shown=False)
        )
        if len(ids) != 3 or len(set(ids)) != 3:
            raise Failed(f"not each once: {ids}")
        self.is_whole("/opt/relay", "/root/clone")
        self.no_backend()
        self.root.run(self.readme.block("relay uninstall --data"))
        self.nothing_is_left()

    def pipx(self) -> None:
        """The same tool by pipx, with the units that fit where that puts it."""
        self.root.run("apt-get install -y -qq --no-install-recommends pipx >/dev/null")
        self.before = self.root.files()
        (install,) = re.findall(r"`(PIPX_HOME=[^`]+)`", (CHECKOUT / "README.md").read_text())
        self.root.run(install, cwd=SOURCE)
        self.root.run("relay install; relay --version; systemd-analyze verify relay.service")
        self.expect(self.root.run("systemctl cat relay"), "ExecStart=/opt/pipx/venvs/moodle-relay/bin/relay ")
        self.is_whole("/opt/pipx/venvs/moodle-relay", SOURCE)
        self.root.run("relay uninstall --data")
        self.root.run("PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin pipx uninstall moodle-relay; rm -rf /opt/pipx")
        self.nothing_is_left()

    def _has(self, commit: str) -> bool:
        return self.root.run(f"git -C /root/clone cat-file -t {commit} || true", is_shown=False).strip() == "commit"


#: A config that it knows, too.
OLD_CONFIG = f"""
moodle:
  url: https://moodle.college.edu
  database: {{unix_socket: /run/mysqld/mysqld.sock, name: moodle, user: relay, password: {{file: database-password}}}}
backend:
  url: http://127.0.0.1:{PORT}
  token: {{file: backend-token}}
  signing_keys: [{{file: signing-key}}]
"""
#: A relay of a day before, which was installed by hand, and how its README had it.
OLD = "6ae237e"
OLD_INSTALL = """
python3 -m venv /opt/relay
/opt/relay/bin/pip install '.[progress]'
install -m 644 systemd/relay.sysusers.conf /usr/lib/sysusers.d/relay.conf
install -m 644 systemd/relay.tmpfiles.conf /usr/lib/tmpfiles.d/relay.conf
systemd-sysusers relay.conf
systemd-tmpfiles --create relay.conf
"""

if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]).absolute(), sys.argv[2:])
    except Failed as failed:
        sys.exit(f"tests/fresh: {failed}")
