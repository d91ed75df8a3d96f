variable "L" { default = ["a"] }
target "default" {
  dockerfile = L[3]
}
