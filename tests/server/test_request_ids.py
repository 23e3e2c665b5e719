from etcdpy.server.request_ids import RequestIds


def test_ids_carry_the_member_the_time_and_a_count() -> None:
    ids = RequestIds(0x8E9E05C52164694D, 0x12_3456_789A)
    first = ids.next()
    assert first >> 48 == 0x694D
    assert first >> 8 & 0xFF_FFFF_FFFF == 0x12_3456_789A
    assert ids.next() == first + 1


def test_ids_of_a_later_start_are_larger_even_after_a_burst() -> None:
    ids = RequestIds(1, 1000)
    burst = [ids.next() for _ in range(1000)]
    assert len(set(burst)) == 1000
    assert RequestIds(1, 1010).next() > burst[-1]


def test_lease_ids_are_positive() -> None:
    ids = RequestIds(0xFFFF, 2**40 - 1)
    assert 0 < ids.next_lease_id() < 2**63
