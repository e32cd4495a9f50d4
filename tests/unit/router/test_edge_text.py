"""What HAProxy says is read whole, in pieces, and never guessed at."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.drains import Drain
from router.edge_text import EdgeView, ServerState, Streams, view
from router.sever import Pair

INFO = "Name: HAProxy\nVersion: 2.6.12\nPid: 7\nStart_time_sec: 1700000000\n"
STAT = """# pxname,svname,qcur,qmax,scur,smax,status,
model-m,a,1,0,3,0,UP 1/3,
model-m,b,,0,,0,DOWN,
model-m,c,0,0,0,0,MAINT,
model-m,d,0,0,2,0,DRAIN,
model-m,e,0,0,0,0,MAINT,
model-m,f,0,0,0,0,DRAIN,
model-m,g,0,0,0,0,UP,
"""
STATE = """1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight
4 model-m 1 a 127.0.0.1 2 0 1
4 model-m 2 b 127.0.0.1 0 4 1
4 model-m 3 c 127.0.0.1 0 1 1
4 model-m 4 d 127.0.0.1 2 8 1
4 model-m 5 e 127.0.0.1 0 1 2
4 model-m 6 f 127.0.0.1 2 8 2
4 model-m 7 g 127.0.0.1 2 0 2
"""
WAITING = """0x7f7: [22/Nov/2026:17:35:35.433158] id=37 proto=tcpv4 source=10.0.0.9:60034
  flags=0x84b, conn_retries=0, conn_exp=<NEVER> conn_et=0x000 srv_conn=0x7f7, pend_pos=(nil) waiting=0 epoch=0
  frontend=edge (id=2 mode=http), listener=? (id=1) addr=127.0.0.1:54525
  backend=model-m (id=4 mode=http) addr=127.0.0.1:42202
  server=a (id=2) addr=127.0.0.1:38519
  task=0x7f7 (state=0x00 nice=0 calls=4 rate=1 exp=58s tid=0(1/0) age=1s)
  txn=0x7f7 flags=0x80000 meth=3 status=-1 req.st=MSG_DONE rsp.st=MSG_RPBEFORE req.f=0x10d rsp.f=0x00
  scf=0x7f7 flags=0x00001402 state=EST
      h1s=0x7f7 h1s.flg=0x100010 .req.state=MSG_DONE .res.state=MSG_RPBEFORE
  res=0x7f7 (f=0xa0000000 an=0x31c00000 tofwd=0 total=0)
"""
PAIR = Pair("127.0.0.1", 42202, "127.0.0.1", 38519)
NOT_FOR_US = {
    "another server": WAITING.replace("server=a ", "server=aa "),
    "another backend": WAITING.replace("backend=model-m ", "backend=model-mm "),
    "no connection yet": WAITING.replace(" addr=127.0.0.1:42202", ""),
    "an answer has begun": WAITING.replace("rsp.st=MSG_RPBEFORE", "rsp.st=MSG_DATA"),
    "a status is here": WAITING.replace("status=-1", "status=200"),
    "the body is still sent": WAITING.replace("req.st=MSG_DONE", "req.st=MSG_DATA"),
    "not kept for another try": WAITING.replace("flags=0x80000 ", "flags=0x40000 "),
    "no transaction": WAITING.replace("  txn=", "  gone="),
    "no server": WAITING.replace("  server=a (id=2) addr=127.0.0.1:38519", "  server=<NONE> (id=-1)"),
}


def read(text: str) -> list[Pair]:
    streams = Streams("model-m", "a")
    return [*streams.feed(text.encode()), *streams.end()]


def test_servers_are_read_by_the_names_of_their_columns() -> None:
    """Load, state and who wants it drained; what the configuration disabled nobody does."""
    found = view(f"{INFO}\n\n{STAT}\n\n{STATE}\n")
    assert found == EdgeView(
        ("7", "1700000000"),
        {
            ("model-m", "a"): ServerState(3, 1, up=True),
            ("model-m", "b"): ServerState(),
            ("model-m", "c"): ServerState(drain=Drain.OPERATOR),
            ("model-m", "d"): ServerState(2, 0, drain=Drain.OPERATOR),
            ("model-m", "e"): ServerState(drain=Drain.FAULT, marked=True),
            ("model-m", "f"): ServerState(drain=Drain.OPERATOR, marked=True),
            ("model-m", "g"): ServerState(up=True, marked=True),
        },
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Unknown command",
        f"{INFO}\n\n{STAT}",
        f"{INFO}\n\n{STAT.replace('scur', 'other')}\n\n{STATE}",
        f"{INFO}\n\n{STAT}\n\n{STATE.replace('srv_admin_state', 'other')}",
        f"{INFO}\n\n{STAT}\n\n{STATE.replace('srv_uweight', 'other')}",
        f"{INFO.replace('Pid', 'other')}\n\n{STAT}\n\n{STATE}",
        f"{INFO}\n\n{STAT}\n\n{STATE.replace('8 1', '')}",
        f"{INFO}\n\n{STAT.replace('3,0', 'x,0')}\n\n{STATE}",
    ],
)
def test_anything_else_is_a_problem_not_an_empty_edge(text: str) -> None:
    """Half an answer must not look like an edge without servers."""
    with pytest.raises(ValueError, match=r"found|int"):
        view(text)


def test_a_request_that_waits_for_its_first_byte_is_found() -> None:
    """Both addresses of its connection to the engine; IPv6 has colons of its own."""
    assert read(WAITING) == [PAIR]
    assert read(WAITING.replace("flags=0x80000 ", "flags=0x840000 ")) == [PAIR]
    six = WAITING.replace("127.0.0.1:42202", "::1:42202").replace("127.0.0.1:38519", "fd00::2:38519")
    assert read(six) == [Pair("::1", 42202, "fd00::2", 38519)]


@pytest.mark.parametrize("text", NOT_FOR_US.values(), ids=NOT_FOR_US)
def test_what_is_not_certainly_waiting_is_left_alone(text: str) -> None:
    """One doubt is enough."""
    assert read(text) == []
    assert read(text + WAITING + text) == [PAIR]


@given(st.lists(st.integers(0, 4000), max_size=20))
def test_pieces_are_read_like_the_whole(cuts: list[int]) -> None:
    """Wherever the socket cuts the text, the same is found."""
    text = (NOT_FOR_US["another server"] + WAITING + NOT_FOR_US["no server"] + WAITING).encode()
    streams, found = Streams("model-m", "a"), list[Pair]()
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    for start, end in pairwise(places):
        found += streams.feed(text[start:end])
    assert [*found, *streams.end()] == [PAIR, PAIR]


@given(st.binary(max_size=300))
def test_no_octets_break_the_reader(octets: bytes) -> None:
    """What is no description of streams has none in it."""
    streams = Streams("model-m", "a")
    assert [*streams.feed(octets), *streams.end()] == []


def test_text_without_an_end_is_not_kept() -> None:
    """Memory is bounded whatever comes."""
    streams = Streams("model-m", "a")
    for _ in range(100):
        streams.feed(b"x" * 65_536)
    assert [*streams.feed(b"\n" + WAITING.encode()), *streams.end()] == [PAIR]
