func f() {
	if x {
		y()
		return 2
	}
}
