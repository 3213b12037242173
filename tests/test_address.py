from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.address import (
    Address,
    Url,
    host_of,
    is_here,
    is_loopback,
    number,
    numeric,
    of_option,
    to_listen_on,
)
from harness.schema.errors import InputError

names = st.from_regex(r"[a-z0-9_]([a-z0-9_.-]{0,20}[a-z0-9_])?", fullmatch=True)
# In a URL, %25 is how a % is written; the test of a URL's zone has those.
zones = st.from_regex(r"%[A-Za-z0-9_.-]{1,15}", fullmatch=True).filter(lambda zone: zone[:3] != "%25")
hosts = st.one_of(
    names,
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.builds(lambda six, zone: f"{six}{zone}", st.ip_addresses(v=6), zones),
)
addresses = st.builds(Address, hosts, st.integers(0, 65535))


@given(addresses)
def test_what_is_written_is_read_again(address: Address) -> None:
    assert Address.parse(str(address)) == address
    assert Address.parse(str(address), default_port=1) == address
    assert Url.parse(f"http://{address}/v2?a=b") == ("http", address, "/v2?a=b")
    assert Url.parse(str(address)) == ("", address, "")
    assert host_of(f"grpc://{address}") == host_of(str(address)) == address.host


@given(addresses)
def test_the_port_may_be_left_out_where_there_is_one_to_take(address: Address) -> None:
    host = str(address).rpartition(":")[0]
    assert Address.parse(host, address.port) == address
    with pytest.raises(ValueError, match="port"):
        Address.parse(host)


@given(st.one_of(st.text(), st.from_regex(r"[\[\]:@/%.0-9a-f]{0,12}", fullmatch=True)))
def test_whatever_is_given_is_an_address_or_one_sentence(text: str) -> None:
    for read in (lambda: of_option("--probe", text, 9400), lambda: to_listen_on("--serve", text)):
        try:
            address = read()
        except InputError as error:
            assert len(str(error).splitlines()) == 1 and "give it as" in str(error)
        else:
            assert Address.parse(str(address)) == address
            assert str(address).isascii() and str(address).isprintable() and " " not in str(address)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":80", "a b:1", "user@host:1", "http://host:1", "host:x", "host:65536", "host/path:1", "a:1\n"),
        *(
            "[::1",
            "::1",
            "::1:8000",
            "[host]:1",
            "[10.0.0.5]:1",
            "[::1%]:1",
            "[fe80::1%a b]:1",
            "hôte:1",
            "a:²",
        ),
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Address.parse(text, 80)


def test_what_was_sent_in_place_of_a_url_has_no_host() -> None:
    for text in (
        "",
        "http://",
        "http://user@host/",
        "http://[::1",
        "a b",
        "http://a/\r\nX: y",
        "http://a/#b",
    ):
        assert host_of(text) == ""


def test_hosts_are_written_in_one_way() -> None:
    assert Address.parse("GPU-1:80") == ("gpu-1", 80)
    assert Address.parse("[2001:DB8:0::1]:80") == ("2001:db8::1", 80)
    assert str(Address.parse("[fe80::1%eth0]", 80)) == "[fe80::1%eth0]:80"


@pytest.mark.parametrize(
    ("written", "zone"),
    [("%25eth0", "eth0"), ("%eth0", "eth0"), ("%25", "25"), ("%250", "250"), ("%2525g0", "25g0")],
)
def test_a_url_may_write_a_zone_in_either_way(written: str, zone: str) -> None:
    assert Url.parse(f"http://[fe80::1{written}]:8000/v2").address == Address(f"fe80::1%{zone}", 8000)


def test_a_port_alone_listens_on_loopback() -> None:
    assert to_listen_on("--serve", "9400") == ("127.0.0.1", 9400)
    assert to_listen_on("--serve", "10.0.0.5:0") == ("10.0.0.5", 0)
    assert to_listen_on("--serve", "[::]:9400") == ("::", 9400)
    with pytest.raises(InputError, match="--serve 'gpu' is no address to listen on: give it as port or"):
        to_listen_on("--serve", "gpu")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.5.0.1", "::1", "localhost", "::ffff:127.0.0.1", "::1%lo"])
def test_only_this_machine_reaches_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["10.0.0.5", "0.0.0.0", "::", "fe80::1%lo", "127.example.org", "gpu-1", ""])
def test_others_may_reach_the_rest(host: str) -> None:
    assert not is_loopback(host)


def test_a_number_in_clothes_of_ipv6_is_that_number() -> None:
    assert number("::ffff:10.0.0.5") == ipaddress.ip_address("10.0.0.5")
    assert number("fe80::1%eth0") == ipaddress.ip_address("fe80::1")
    assert number("gpu-1") is None


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "::1"])
def test_loopback_is_here(address: str) -> None:
    assert is_here(address)


def test_what_is_elsewhere_or_nowhere_is_not() -> None:
    assert not is_here("192.0.2.1"), "kept for documentation"
    assert not is_here("no-such-host.invalid")
    assert not is_here("a" * 64 + ".example"), "longer than a name may be"


def test_a_numbers_zone_is_kept_for_the_socket() -> None:
    index, name = socket.if_nameindex()[0]
    family, address = numeric(f"fe80::1%{name}", 80)
    assert family is socket.AF_INET6 and address == (f"fe80::1%{index}", 80)
    assert numeric("localhost", 80)[1].host in ("127.0.0.1", "::1")
    with pytest.raises(OSError, match="name"):
        numeric("a" * 64 + ".example", 80)
