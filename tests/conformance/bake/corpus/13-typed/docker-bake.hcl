variable "S" {
  type    = string
  default = "s"
}
variable "N" {
  type    = number
  default = "3"
}
variable "B" {
  type    = bool
  default = true
}
variable "L" {
  type    = list(string)
  default = ["a", "b"]
}
variable "M" {
  type = map(number)
  default = { x = 1 }
}
variable "O" {
  type = object({ name = string, tags = optional(list(string)) })
  default = { name = "n", more = "dropped" }
}
variable "T" {
  type    = tuple([string, number])
  default = ["a", 1]
}
variable "E" {
  type    = list(number)
  default = [1, 2]
  validation {
    condition     = length(E) < 5
    error_message = "too many"
  }
}
target "default" {
  args = {
    S = S, N = N, B = B, L = jsonencode(L), M = jsonencode(M), O = jsonencode(O), T = jsonencode(T)
    E = join("+", E)
  }
}
