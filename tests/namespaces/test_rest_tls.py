"""The client over TLS, with a certificate of the server and one of its own."""

from __future__ import annotations

import datetime
import ipaddress
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from rest_servers import LISTING, ScriptedServer, client

from pennon.errors import (
    Unavailable,
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return the paths of a self-signed certificate for 127.0.0.1 and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pennon test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(paths[0]), str(paths[1])


def test_tls(certificate: tuple[str, str]) -> None:
    authority, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, key)
    with ScriptedServer(LISTING, tls=context) as server:
        elsewhere = server.uri.replace("127.0.0.1", "localhost")
        loose = {"tls__assert_hostname": "false"}
        for uri, given in ((server.uri, {}), (elsewhere, loose)):
            with client(uri, tls__ssl_ca_cert=authority, **given) as rest:
                assert rest.call("list_tables") == {"tables": ["t"]}
        assert len(server.requests) == 2
        for uri, given in ((server.uri, {}), (elsewhere, {"tls__ssl_ca_cert": authority})):
            with client(uri, **given) as rest, pytest.raises(Unavailable, match="certificate"):
                rest.call("list_tables", deadline=2)
        assert len(server.requests) == 2


def test_tls_with_a_certificate_of_the_client(certificate: tuple[str, str]) -> None:
    authority, key = certificate
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(authority, key)
    own = {"tls__cert_file": authority, "tls__key_file": key}
    with ScriptedServer(LISTING, tls=context) as server:
        with client(server.uri, tls__ssl_ca_cert=authority, **own) as rest:
            assert rest.call("list_tables") == {"tables": ["t"]}
        with client(server.uri, tls__ssl_ca_cert=authority) as rest, pytest.raises(Unavailable):
            rest.call("list_tables", deadline=2)
        assert len(server.requests) == 1
