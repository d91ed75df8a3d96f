target "default" {
  args = { A = "${UNKNOWN}" }
}
