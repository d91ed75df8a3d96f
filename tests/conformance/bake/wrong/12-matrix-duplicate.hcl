target "default" {
  name   = "same"
  matrix = { x = ["1", "2"] }
}
