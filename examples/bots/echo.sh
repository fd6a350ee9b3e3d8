#!/bin/sh
# A bot in one line: whoever writes gets the same back.
#
#     p2pchat-udp -d ~/echo -n echo listen --exec examples/bots/echo.sh
#
# The text comes on stdin; who wrote it is in P2PCHAT_FROM, what he calls himself in P2PCHAT_NAME. Nothing of it is ever an argument,
# so there is nothing to quote. Two of these must not meet: they would never stop.
set -eu
{ printf 'you said: '; cat; } | p2pchat-udp send "$P2PCHAT_FROM" - --wait queued
