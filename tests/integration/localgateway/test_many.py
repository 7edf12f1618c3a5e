"""Many sockets at once: the small version of ``bin/bench gateway``, which holds 5,000."""

from bench.gateway import measure


def test_every_one_of_many_sockets_gets_its_post_beside_a_deaf_one() -> None:
    report = measure(sockets=200, compression="deflate")

    assert report.received == 200
    assert report.beside_deaf_received == 200
    assert report.deaf_accepted > 0
    assert any("200 of 200" in line for line in report.lines())
