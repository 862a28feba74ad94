"""A second person's word before a credential is made: who asked, and who granted or refused it."""
