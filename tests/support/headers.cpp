// Nothing but a program to precompile the tests' headers for.
int main() {
  return 0;
}
