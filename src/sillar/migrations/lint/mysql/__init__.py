"""The rules of MySQL and MariaDB."""
