"""A mail server that asks for a password and says on its standard output, one JSON object a line, what it took.

    server.py none|starttls|tls USERNAME PASSWORD FOLDER

FOLDER holds server.pem and key.pem. The first line is the port. It ends with its standard input.
"""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

mode, username, password, folder = sys.argv[1:]


class Taker:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("unknown@"):
            return "550 5.1.1 nobody has this mailbox"
        if address.startswith("busy@"):
            return "451 4.3.0 come back later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        headers = {}
        for name, value in mail.items():
            headers.setdefault(name.lower(), []).append(str(value))
        say({
            "greeting": session.host_name,
            "over_tls": session.ssl is not None or mode == "tls",
            "sender": envelope.mail_from,
            "recipients": envelope.rcpt_tos,
            "headers": headers,
            "text": body(mail, "plain"),
            "html": body(mail, "html"),
        })
        return "250 2.0.0 taken"


def body(mail, kind):
    return mail.get_body(preferencelist=[kind]).get_content().replace("\r\n", "\n")


def say(value):
    print(json.dumps(value), flush=True)


def is_known(server, session, envelope, mechanism, login):
    is_right = (login.login, login.password) == (username.encode(), password.encode())
    return AuthResult(success=is_right, handled=False)


async def serve():
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(f"{folder}/server.pem", f"{folder}/key.pem")
    loop = asyncio.get_running_loop()

    def connection():
        return SMTP(
            Taker(),
            loop=loop,
            tls_context=tls if mode == "starttls" else None,
            require_starttls=mode == "starttls",
            auth_required=True,
            auth_require_tls=mode == "starttls",
            authenticator=is_known,
        )

    server = await loop.create_server(connection, "127.0.0.1", 0, ssl=tls if mode == "tls" else None)
    say(server.sockets[0].getsockname()[1])
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(serve())
