target "default" {
  args = { for x in ["a", "a"] : x => x }
}
