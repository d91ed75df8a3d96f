variable "N" {
  default = 7
  validation {
    condition     = N < 5
    error_message = "N is ${N}, which is too much"
  }
}
target "default" {}
