func f() {
	if x {
		b()
		a()
	}
}
