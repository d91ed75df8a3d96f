target "default" {
  args = { A = target.b.args.B }
}
target "b" {
  args = { B = target.default.args.A }
}
