package placement.edited_test

test_wide if count(sprintf("%1000000d%1000000d", [1, 2])) == count(concat("", [sprintf("%1000000d", [i]) | some i in numbers.range(1, 2000)]))
