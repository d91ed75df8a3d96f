variable "N" { default = null }
target "default" {
  dockerfile = "a${N}"
}
