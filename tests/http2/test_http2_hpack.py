"""RFC 7541: the appendix's examples, every rule of its sections, and stories told by other encoders."""

from __future__ import annotations

import random

import pytest

from etcdpy.http2 import ConnectionFault, ErrorCode, huffman
from etcdpy.http2.hpack import Decoder, Encoder, encode_static, prepare_headers
from tests.http2 import nghttp2
from tests.http2.stories import STORY_NAMES, load_story, make_lists

Pairs = list[tuple[str, str]]


def new_decoder(table_bytes: int = 4096, list_bytes_max: int = 2**20, fields_max: int = 1000) -> Decoder:
    return Decoder(table_bytes=table_bytes, list_bytes_max=list_bytes_max, fields_max=fields_max)


def decode(decoder: Decoder, block: bytes) -> Pairs:
    fields = decoder.decode(block)
    assert fields is not None
    return [(name, value) for name, value, _kind, _size in fields]


def is_refused(decoder: Decoder, block: bytes) -> None:
    with pytest.raises(ConnectionFault) as caught:
        decoder.decode(block)
    assert caught.value.code == ErrorCode.COMPRESSION_ERROR


# 5.1 Integer Representation, 5.2 String Literal Representation


def test_5_1_long_integers_are_decoded() -> None:
    name = "n" * 1337
    length = b"\x7f" + bytes((1337 - 127 & 0x7F | 0x80, 1337 - 127 >> 7))
    assert decode(new_decoder(), b"\x00" + length + name.encode() + b"\x01v") == [(name, "v")]


@pytest.mark.parametrize(
    "block", [b"\xff" + b"\x80" * 4 + b"\x01", b"\x00\x7f" + b"\xff" * 4 + b"\x7f", b"\x7f" + b"\xff" * 9]
)
def test_5_1_integers_too_large_are_refused(block: bytes) -> None:
    is_refused(new_decoder(), block)


@pytest.mark.parametrize("cut", range(1, 12))
def test_5_2_a_block_that_ends_early_is_refused(cut: int) -> None:
    block = b"\x40\x07grpc-xy\x01v"
    is_refused(new_decoder(), block[:cut] if cut < len(block) else b"\x40")


def test_5_2_huffman_padding_is_less_than_an_octet_of_ones() -> None:
    good = huffman.encode("a")
    assert good == b"\x1f"
    for bad in (b"\x1e", b"\x18", good + b"\xff", b"\xff\xff\xff\xff", b"\xff\xff\xff\xfc"):
        with pytest.raises(ConnectionFault):
            huffman.decode(bad)


def test_5_2_every_octet_survives_huffman_both_ways() -> None:
    text = "".join(map(chr, range(256)))
    for piece in [text, *text, text * 3, ""]:
        assert huffman.decode(huffman.encode(piece)) == piece


# 6.1 Indexed, 6.2 Literal, 6.3 Dynamic Table Size Update


def test_6_1_index_0_and_indices_beyond_the_table_are_refused() -> None:
    for block in (b"\x80", b"\xbe", b"\xff\x7f", b"\x7e\x01a"):
        is_refused(new_decoder(), block)


def test_6_1_all_static_entries() -> None:
    table = pytest.importorskip("hpack.table").HeaderTable.STATIC_TABLE
    expected = [(name.decode(), value.decode()) for name, value in table]
    block = bytes(0x80 | index for index in range(1, 62))
    assert decode(new_decoder(), block) == expected


def test_6_2_only_literals_with_indexing_enter_the_table() -> None:
    decoder = new_decoder()
    decode(decoder, b"\x00\x01a\x01b" + b"\x10\x01c\x01d")
    assert decoder.table_bytes == 0
    assert not decoder.was_changed
    decode(decoder, b"\x40\x01e\x01f")
    assert decoder.table_bytes == 34
    assert decode(decoder, b"\xbe") == [("e", "f")]


def test_6_3_updates_stand_only_at_the_beginning_and_within_the_limit() -> None:
    decoder = new_decoder()
    assert decode(decoder, b"\x20\x3f\xe1\x1f\x82") == [(":method", "GET")]
    is_refused(decoder, b"\x82\x20")
    is_refused(new_decoder(), b"\x3f\xe2\x1f")


def test_4_2_a_lower_limit_must_be_obeyed_after_its_acknowledgement() -> None:
    decoder = new_decoder(table_bytes=100)
    decode(decoder, b"\x40\x01a\x01b" * 4)
    assert decoder.table_bytes == 136
    decoder.settings_acknowledged()
    is_refused(decoder, b"\x82")
    assert decode(decoder, b"\x3f\x45\x82") == [(":method", "GET")]
    assert decoder.table_bytes == 68


def test_4_3_and_4_4_entries_leave_first_in_first_out_and_one_too_large_leaves_none() -> None:
    decoder = new_decoder()
    decode(decoder, b"\x3f\x45")  # 100 octets: two entries of 34
    decode(decoder, b"\x40\x01a\x011" + b"\x40\x01b\x012" + b"\x40\x01c\x013")
    assert decode(decoder, b"\xbe\xbf") == [("c", "3"), ("b", "2")]
    is_refused(decoder, b"\xc0")
    decode(decoder, b"\x40\x01d\x46" + b"x" * 70)
    assert decoder.table_bytes == 0


def test_4_4_a_name_may_come_from_the_entry_that_is_evicted_for_it() -> None:
    decoder = new_decoder()
    decode(decoder, b"\x3f\x06")  # 37 octets: one entry
    decode(decoder, b"\x40\x03abc\x01x")
    assert decode(decoder, b"\x7e\x01y") == [("abc", "y")]
    assert decode(decoder, b"\xbe") == [("abc", "y")]


# Bounds


def test_a_list_too_large_is_none_but_the_table_learns() -> None:
    decoder = new_decoder(list_bytes_max=200, fields_max=5)
    assert decoder.decode(b"\x40\x01a\x01b" + b"\x00\x01c\x7f\x49" + b"x" * 200) is None
    assert decoder.decode(b"\xbe" * 6) is None
    assert decode(decoder, b"\xbe" * 5) == [("a", "b")] * 5


# Appendix C


@pytest.mark.parametrize("huffman_coded", [False, True])
def test_c_3_and_c_4_requests(huffman_coded: bool) -> None:
    plain = ["828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865"]
    plain += ["828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565"]
    coded = ["828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf"]
    coded += ["828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf"]
    decoder = new_decoder()
    first = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")]
    lists = [first, [*first, ("cache-control", "no-cache")]]
    lists += [
        [
            (":method", "GET"),
            (":scheme", "https"),
            (":path", "/index.html"),
            first[3],
            ("custom-key", "custom-value"),
        ]
    ]
    for block, expected in zip(coded if huffman_coded else plain, lists, strict=True):
        assert decode(decoder, bytes.fromhex(block)) == expected
    assert decoder.table_bytes == 164
    encoder = Encoder()
    if huffman_coded:
        assert [encoder.encode(fields).hex() for fields in lists] == coded


def test_c_6_responses_with_eviction() -> None:
    decoder = new_decoder(table_bytes=256)
    blocks = [
        "3fe101488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1"
        "ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ]
    sizes = [222, 222, 215]
    results = []
    for block, size in zip(blocks, sizes, strict=True):
        results.append(decode(decoder, bytes.fromhex(block)))
        assert decoder.table_bytes == size
    assert results[1][0] == (":status", "307")
    assert results[2][-1] == ("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1")


# Our encoder, read by us and by others


@pytest.mark.parametrize("seed", range(5))
def test_what_we_encode_we_decode_through_table_changes(seed: int) -> None:
    encoder, decoder = Encoder(), new_decoder()
    chance = random.Random(seed)
    for fields in make_lists(seed, 300):
        if chance.random() < 0.1:
            for _ in range(chance.randrange(1, 3)):
                encoder.limit_table(chance.choice([0, 40, 100, 300, 2000, 4096, 10_000]))
        assert decode(decoder, encoder.encode(fields)) == fields
        assert encoder.table_bytes == decoder.table_bytes
        if chance.random() < 0.1:
            assert encoder.has_pending_update or decode(decoder, encode_static(fields)) == fields


@pytest.mark.parametrize("seed", range(5))
def test_what_we_encode_python_hpack_decodes(seed: int) -> None:
    hpack = pytest.importorskip("hpack")
    encoder, reader = Encoder(), hpack.Decoder(max_header_list_size=2**20)
    for number, fields in enumerate(make_lists(seed, 200)):
        if number % 20 == 19:
            size = (0, 64, 512, 4096)[number // 20 % 4]
            reader.max_allowed_table_size = size
            encoder.limit_table(size)
        read = reader.decode(encoder.encode(fields), raw=True)
        assert [(name.decode("latin-1"), value.decode("latin-1")) for name, value in read] == fields


@pytest.mark.parametrize("seed", range(3))
def test_what_we_encode_nghttp2_decodes(seed: int) -> None:
    if not nghttp2.is_available():
        pytest.skip("libnghttp2 is not installed")
    encoder = Encoder()
    with nghttp2.Inflater() as reader:
        for number, fields in enumerate(make_lists(seed, 200)):
            if number % 20 == 19:
                size = (0, 64, 512, 4096)[number // 20 % 4]
                reader.change_table_size(size)
                encoder.limit_table(size)
            assert reader.decode(encoder.encode(fields)) == fields


def test_a_new_encoder_says_at_once_if_its_table_is_smaller_than_the_default() -> None:
    assert Encoder(table_bytes_max=100).encode([(":method", "GET")]) == b"\x3f\x45\x82"
    assert Encoder().encode([(":method", "GET")]) == b"\x82"


def test_secrets_never_enter_a_table() -> None:
    encoder = Encoder()
    for _ in range(2):
        assert encoder.encode([("set-cookie", "secret")])[0] & 0xF0 == 0x10
    assert encoder.table_bytes == 0
    assert encode_static([("set-cookie", "secret")])[0] & 0xF0 == 0x10


def test_a_prepared_block_is_the_same_for_every_decoder() -> None:
    fields = [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "0")]
    block = prepare_headers(fields).block
    first, second = new_decoder(), new_decoder()
    decode(second, b"\x40\x01a\x01b")
    assert decode(first, block) == decode(second, block) == fields
    assert first.table_bytes == 0


# Stories: what other encoders made of their lists, kept as files


@pytest.mark.parametrize("name", STORY_NAMES)
def test_stories_of_other_encoders_decode_equally(name: str) -> None:
    decoder = new_decoder()
    cases = load_story(name)
    assert len(cases) >= 20, "a story must be long enough to use the table"
    for number, (block, expected) in enumerate(cases):
        assert decode(decoder, block) == expected, f"case {number} of {name}"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("use_huffman", [False, True])
def test_what_python_hpack_encodes_we_decode(seed: int, use_huffman: bool) -> None:
    hpack = pytest.importorskip("hpack")
    writer, decoder = hpack.Encoder(), new_decoder()
    chance = random.Random(seed)
    for fields in make_lists(seed, 200):
        if chance.random() < 0.05:
            writer.header_table_size = chance.choice([0, 100, 1000, 4096])
        octets = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
        assert decode(decoder, writer.encode(octets, huffman=use_huffman)) == fields
