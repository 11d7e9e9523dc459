"""For tests, yours and ours: Hypothesis strategies, laws of routing, hand-computed cases (extra ``testing``)."""
