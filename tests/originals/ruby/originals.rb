# frozen_string_literal: true

# The migrator of Rails and lock packages of Ruby. Requests are lines of JSON: see
# tests/src/foreign_client/process.rs.
# The packages are those of the distribution; the server is in libpq's variables.

require 'active_record'
require 'json'
require 'zlib'

def connect(database)
  ActiveRecord::Base.establish_connection(adapter: 'postgresql', database: database)
  ActiveRecord::Base.connection
end

# Rails' lock on a database, which is its name.
class RailsMigrations
  def package
    "activerecord #{ActiveRecord::VERSION::STRING}"
  end

  def try(name)
    @connection = connect(name)
    @id = ActiveRecord::Migrator.allocate.send(:generate_migrator_advisory_lock_id)
    @connection.get_advisory_lock(@id)
  end

  def free(_name)
    @connection.release_advisory_lock(@id)
  end
end

# The rule of with_advisory_lock and of pg_lock, out of the functions of Ruby that they call. The packages are not to be had here.
class Hashed
  def initialize
    @connection = connect(ENV.fetch('PGDATABASE'))
  end

  def package
    "its rule on Ruby's zlib #{Zlib::VERSION}"
  end

  def try(name)
    @connection.select_value("SELECT pg_try_advisory_lock(#{key(name)})")
  end

  def free(name)
    @connection.select_value("SELECT pg_advisory_unlock(#{key(name)})")
  end
end

# As in lib/with_advisory_lock/postgresql_advisory.rb.
class WithAdvisoryLock < Hashed
  PREFIX = nil

  def key(name)
    [Zlib.crc32(name.to_s, 0), self.class::PREFIX].map { |half| half.to_i & 0x7fffffff }.join(',')
  end
end

# With a prefix from the environment, of which the number in front counts.
class WithAdvisoryLockPrefixed < WithAdvisoryLock
  PREFIX = '7abc'
end

# Every name is a prefix: how Ruby reads one.
class Prefixes < Hashed
  def key(name)
    [0, name].map { |half| half.to_i & 0x7fffffff }.join(',')
  end
end

# As in lib/pg_lock.rb.
class HerokuPgLock < Hashed
  def key(name)
    hash = Zlib.crc32(name.to_s)
    "-2147483648,#{hash > 2_147_483_647 ? -(-hash & 0xffffffff) : hash}"
  end
end

def answer(original, request)
  case request['do']
  when 'try' then { held: original.try(request['name']) }
  when 'free'
    original.free(request['name'])
    {}
  else { keys: request['names'].map { |name| original.key(name) } }
  end
end

$stdout.sync = true
original = Object.const_get(ARGV[0]).new
puts JSON.generate(package: original.package, runtime: "Ruby #{RUBY_VERSION}")
$stdin.each_line do |line|
  puts JSON.generate(answer(original, JSON.parse(line)))
rescue StandardError => e
  puts JSON.generate(error: "#{e.class}: #{e.message}")
end
