group "default" {
  matrix  = { x = ["1"] }
  targets = []
}
