"""An identity provider made of pysaml2: reads what a service says, and answers it.

Takes one JSON object from standard input and writes one to standard output.
"""

import json
import sys
from datetime import datetime, timezone

from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT
from saml2.authn_context import PASSWORDPROTECTEDTRANSPORT
from saml2.config import IdPConfig
from saml2.metadata import entity_descriptor
from saml2.saml import NAMEID_FORMAT_PERSISTENT, NameID
from saml2.server import Server
from saml2.xmldsig import DIGEST_SHA256, SIG_RSA_SHA256

ENTITY = "https://idp.example.com/metadata"
ALICE = NameID(format=NAMEID_FORMAT_PERSISTENT, text="alice-1")


def provider(given):
    config = IdPConfig().load(
        {
            "entityid": ENTITY,
            "service": {
                "idp": {
                    "endpoints": {
                        "single_sign_on_service": [("https://idp.example.com/sso", BINDING_HTTP_REDIRECT)],
                        "single_logout_service": [("https://idp.example.com/logout", BINDING_HTTP_REDIRECT)],
                    },
                    "want_authn_requests_signed": True,
                    "name_id_format": [NAMEID_FORMAT_PERSISTENT],
                    "policy": {"default": {"lifetime": {"minutes": 15}}},
                }
            },
            "key_file": given["key_file"],
            "cert_file": given["certificate_file"],
            "xmlsec_binary": "/usr/bin/xmlsec1",
            "metadata": {"inline": [given["service_metadata"]]} if given["service_metadata"] else {},
        }
    )
    return Server(config=config), config


def answer(idp, query, signs):
    asked = idp.parse_authn_request(
        query["SAMLRequest"],
        BINDING_HTTP_REDIRECT,
        relay_state=query["RelayState"],
        sigalg=query["SigAlg"],
        signature=query["Signature"],
    )
    return idp.create_authn_response(
        identity={"mail": ["alice@acme.example"], "displayName": ["Alice Größe & Co <x>"]},
        userid="alice",
        name_id=ALICE,
        authn={"class_ref": PASSWORDPROTECTEDTRANSPORT, "authn_auth": ENTITY},
        sign_alg=SIG_RSA_SHA256,
        digest_alg=DIGEST_SHA256,
        sign_assertion=signs in ("assertion", "both"),
        sign_response=signs in ("response", "both"),
        **idp.response_args(asked.message),
    )


def log_out(idp, given):
    _, request = idp.create_logout_request(
        given["logout_url"], ENTITY, name_id=ALICE, session_indexes=["session-1"], sign=False
    )
    return idp.apply_binding(
        BINDING_HTTP_REDIRECT,
        str(request),
        given["logout_url"],
        relay_state="back",
        sign=True,
        sigalg=SIG_RSA_SHA256,
    )["headers"][0][1]


def main():
    given = json.load(sys.stdin)
    idp, config = provider(given)
    out = {"metadata": str(entity_descriptor(config)), "now": datetime.now(timezone.utc).isoformat()}
    if given.get("request"):
        signs = ("assertion", "response", "both")
        out["responses"] = {what: str(answer(idp, given["request"], what)) for what in signs}
    if given.get("logout_url"):
        out["logout"] = log_out(idp, given)
    json.dump(out, sys.stdout)


main()
